"""What there is to read about the API: the OpenAPI document, a page to try it, each problem."""
