"""The detector service: takes copies of requests and answers, and says what the served models do and how they drift."""
