"""How anything is said to a Dataverse organisation: OData over HTTPS. Knows neither CIJ nor Airflow."""
