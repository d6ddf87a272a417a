"""How a Dataverse organisation is talked to: OData over HTTPS. Knows neither CIJ nor Airflow."""
