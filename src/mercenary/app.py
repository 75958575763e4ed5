"""The application: all the wiring on one page.

`create_app` gives a plain ASGI callable that any server runs; `mercenary serve` runs it on granian.
"""

from starlette.types import ASGIApp, Receive, Scope, Send

from mercenary import settings
from mercenary.auth import endpoints as auth
from mercenary.auth import sessions
from mercenary.auth.service import authenticator
from mercenary.cache import caches, valkey
from mercenary.db import engine
from mercenary.edge.admission import Admission
from mercenary.edge.body import Body
from mercenary.edge.client_address import ClientAddress
from mercenary.edge.coding import Coding
from mercenary.edge.consistency import Consistency, recalling
from mercenary.edge.cross_origin import CrossOrigin
from mercenary.edge.deadline import Deadline
from mercenary.edge.dispatch import Dispatch
from mercenary.edge.door import Door
from mercenary.edge.fills import Fills
from mercenary.edge.hits import Hits
from mercenary.edge.identity import Identity
from mercenary.edge.overload import Overload
from mercenary.edge.problems import Problems
from mercenary.edge.rate_limit import RateLimit
from mercenary.edge.request_id import RequestId
from mercenary.edge.routing import Routing
from mercenary.edge.security_headers import SecurityHeaders
from mercenary.health import endpoints as health
from mercenary.health import service as health_service
from mercenary.http import compression
from mercenary.http.endpoint import Endpoint, declared_in
from mercenary.http.router import Router
from mercenary.http.shared_caching import Lifetime
from mercenary.limits.limiter import Limiter
from mercenary.projects import endpoints as projects
from mercenary.proposals import endpoints as proposals
from mercenary.reference import endpoints as reference
from mercenary.reference import service as reference_service
from mercenary.skills import endpoints as skills
from mercenary.stats import endpoints as stats
from mercenary.telemetry import logs
from mercenary.users import endpoints as users

FEATURES = (auth, users, skills, projects, proposals, stats, health, reference)
ENDPOINTS: tuple[Endpoint, ...] = tuple(declared_in(FEATURES))


class Application:
    """The edge in its order, and the lifespan that opens and closes what a worker holds."""

    def __init__(self, options: settings.Settings, database_uri: str) -> None:
        self.settings = options
        self.database_uri = database_uri
        self.router = Router(ENDPOINTS, options.max_json_depth, Lifetime.of(options))
        reference_service.describe(self.router.endpoints)
        self.limiter = Limiter(options)
        self.admission = Admission(
            least=options.in_flight_least,
            start=options.in_flight_start,
            most=options.in_flight_most,
        )
        app: ASGIApp = Dispatch()
        replicated = bool(options.replica_uris)
        certify = recalling(sessions.certify) if replicated else sessions.certify
        app = Fills(app, certify)
        if replicated:
            app = Consistency(app, options.replica_lag)
        app = limits = RateLimit(app, options, self.limiter)
        app = Identity(app, authenticator().identify)
        app = Deadline(app)
        app = Overload(app, self.admission, options.request_deadline)
        app = Body(
            app,
            limit=options.max_body_bytes,
            seconds=options.body_seconds,
            room=options.arriving_bodies_bytes,
        )
        app = Routing(app, self.router)
        app = Hits(app, limits, authenticator().recall, tokens=replicated)
        app = Coding(app)
        app = CrossOrigin(app, self.router, options.cors_origins)
        app = Door(app)
        app = Problems(app)
        app = SecurityHeaders(app)
        app = ClientAddress(app, options.trusted_proxies)
        self._edge: ASGIApp = RequestId(app)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or carry the server through start and stop."""
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        else:
            await self._edge(scope, receive, send)

    async def start(self) -> None:
        """Open what a worker needs. While the database is away, requests are told so."""
        database = engine.Database(self.settings, self.database_uri)
        engine.use(database)
        url = self.settings.cache_config.default.cache_redis_url
        valkey.use(valkey.Valkey(url, seconds=self.settings.valkey_timeout))
        kept = caches.Caches(self.settings, self.database_uri, database.counts)
        caches.use(kept)
        kept.start()

    async def stop(self) -> None:
        """Let the batches finish and give everything back."""
        await health_service.close()
        database = engine.current()
        engine.use(None)
        await database.close()
        # Behind the last write, which moves the host's clocks.
        await caches.current().close()
        caches.use(None)
        await self.limiter.close()
        cache = valkey.current()
        valkey.use(None)
        await cache.close()
        compression.close()
        authenticator().close()
        authenticator.cache_clear()

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        await receive()
        await self.start()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self.stop()
        await send({"type": "lifespan.shutdown.complete"})


def create_app() -> Application:
    """The application under the process's settings.

    Raises:
        SettingsError: a setting is wrong, or none names the database.
    """
    options = settings.get()
    logs.configure(options.log_level)
    if options.sqlalchemy_database_uri is None:
        raise settings.SettingsError(
            ["SQLALCHEMY_DATABASE_URI names no database; set it, or start with `mercenary up`."]
        )
    return Application(options, options.sqlalchemy_database_uri)
