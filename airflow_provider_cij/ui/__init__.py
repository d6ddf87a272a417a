"""The pages in the Airflow UI: ES modules over the UI's own React, served as static files. They need no build."""
