"""What is said to Customer Insights - Journeys: segments and their members. Knows neither HTTP nor Airflow."""
