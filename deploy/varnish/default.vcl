# Varnish in front of Mercenary, with vmod xkey (Debian: varnish-modules). Tested with Debian's 7.1.
#
# It keeps guests' answers for as long as they say, finds them by their tags, and forgets what the
# relay tells it to. Whoever is signed in is passed through, and nothing of theirs is kept.
vcl 4.1;

import xkey;

backend default {
    .host = "127.0.0.1";
    .port = "8000";
    # The application ends requests after 10 s itself, and lets go of idle connections after 30 s.
    .first_byte_timeout = 15s;
    .between_bytes_timeout = 15s;
    .connect_timeout = 1s;
    .max_connections = 1000;
}

# Who may have answers forgotten: the hosts on which `mercenary relay` runs.
acl purgers {
    "127.0.0.1";
    "::1";
}

sub vcl_recv {
    if (req.method == "PURGE") {
        # Varnish has added the peer to X-Forwarded-For: a comma tells that a proxy on this host, of
        # whose address `purgers` thinks well, speaks for somebody else.
        if (client.ip !~ purgers || req.http.X-Forwarded-For ~ ",") {
            return (synth(403));
        }
        if (req.http.Surrogate-Key == "*") {
            ban("obj.status != 0");
        } else if (!req.http.Surrogate-Key || xkey.purge(req.http.Surrogate-Key) < 0) {
            return (synth(400));
        }
        return (synth(200));
    }
    # As the application does it: the caller's own name for the request, if it is well-formed.
    if (req.http.X-Request-Id !~ "^[A-Za-z0-9._~+/=-]{8,128}$") {
        set req.http.X-Request-Id = "varnish-" + server.hostname + "-" + req.xid;
    }
    # Varnish says in X-Forwarded-For where a request comes from. This says the same, and is only ever
    # the caller's own word.
    unset req.http.Forwarded;
    if (req.http.X-Forwarded-Proto != "https") {
        unset req.http.X-Forwarded-Proto;
    }
    if (req.method != "GET" && req.method != "HEAD") {
        return (pass);
    }
    # A token makes the answer somebody's own. Who asks for a state from the database gets it there.
    if (req.http.Authorization || req.http.Cache-Control ~ "(?i)no-cache") {
        return (pass);
    }
    # Nothing here depends on cookies, which pages of the same site may have left behind.
    unset req.http.Cookie;
    # Accept-Encoding needs no care: Varnish asks for gzip, keeps that, and unpacks it for the few
    # who don't take it (parameter http_gzip_support, on unless it is switched off).
    return (hash);
}

# Over TLS there is one header more, Strict-Transport-Security. Address and host come besides.
sub vcl_hash {
    if (req.http.X-Forwarded-Proto) {
        hash_data(req.http.X-Forwarded-Proto);
    }
}

sub vcl_backend_response {
    # s-maxage and stale-while-revalidate have become the lifetime and the grace already. An error
    # doesn't replace what is kept: that is shown for the rest of its grace.
    if (beresp.status >= 500 && bereq.is_bgfetch) {
        return (abandon);
    }
    if (beresp.http.Cache-Control !~ "(?i)(^|[ ,])public") {
        set beresp.uncacheable = true;
        set beresp.ttl = 120s;
        return (deliver);
    }
    set beresp.http.xkey = beresp.http.Surrogate-Key;
    # Told to the caller for whom this was fetched, and to nobody else.
    unset beresp.http.RateLimit;
    unset beresp.http.RateLimit-Policy;
    unset beresp.http.X-RateLimit-Limit;
    unset beresp.http.X-RateLimit-Remaining;
    unset beresp.http.X-RateLimit-Reset;
    unset beresp.http.X-Request-Id;
    unset beresp.http.X-Cache;
    unset beresp.http.Set-Cookie;
}

sub vcl_deliver {
    # For the CDN, not for whoever reads the answer.
    unset resp.http.xkey;
    unset resp.http.Surrogate-Key;
    unset resp.http.Cache-Tag;
    set resp.http.X-Request-Id = req.http.X-Request-Id;
}

# The application can't be reached: said as it would say it.
sub vcl_backend_error {
    set beresp.http.Content-Type = "application/problem+json";
    set beresp.http.Cache-Control = "no-store";
    set beresp.http.Retry-After = "2";
    set beresp.body = {"{"instance":""} + bereq.http.X-Request-Id + {"","type":"/problems/unavailable","title":"A service that is needed is away for the moment","status":503}"};
    return (deliver);
}
