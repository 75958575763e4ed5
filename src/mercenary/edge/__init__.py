"""What happens to every request before and after its endpoint, one concern a file.

Pure ASGI, each layer a class that is given the next; nothing here knows a feature or opens a
transaction. `app.py` puts them in order. What they tell each other stands in the scope:

- `request_id` and `trace_id`, by RequestId, and `answer_headers`, the list of headers that every
  answer gets;
- `client_address`, the caller's as text, by ClientAddress, which also corrects `scheme`;
- `accepted`, the content codings that the caller takes, by Coding;
- `invocation` (the endpoint, or None) and `path_values`, by Routing;
- `body`, the whole of it where the endpoint takes one, by Body;
- `sojourn.current()`, by Overload: until when the request is worth answering (not in the scope);
- `caller` and `refusal` (what is wrong with the credentials, or None), by Identity;
- `answered`, by `http.responses.respond`, which sends every answer.
"""
