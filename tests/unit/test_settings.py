"""Settings: what wins, what is refused, and what is never shown."""

from pathlib import Path

import msgspec
import pytest

from mercenary.settings import DEVELOPMENT_SECRET, Loaded, Settings, SettingsError, load, masked

SECRET = "x" * 48


@pytest.fixture(autouse=True)
def _an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def written(text: str) -> None:
    Path("mercenary.toml").write_text(text, encoding="utf-8")


def refused(environ: dict[str, str], file: Path | None = None) -> tuple[str, ...]:
    with pytest.raises(SettingsError) as caught:
        load(environ, file)
    return caught.value.lines


def test_defaults_are_the_guides() -> None:
    loaded = load({})
    options, cache = loaded.settings.sqlalchemy_engine_options, loaded.settings.cache_config
    assert (
        options.pool_size,
        options.max_overflow,
        options.pool_timeout,
        options.pool_recycle,
    ) == (20, 10, 30, 1800)
    assert (
        cache.default.cache_redis_url,
        cache.default.cache_default_timeout,
    ) == ("redis://localhost:6379/0", 300)
    assert (
        cache.session.cache_redis_url,
        cache.session.cache_default_timeout,
    ) == ("redis://localhost:6379/1", 86400)
    assert {"default"} == set(loaded.sources.values())
    assert loaded.settings.workers >= 1


def test_environment_wins_over_file_wins_over_default() -> None:
    written("port = 8100\nbatch_lanes = 3\n[sqlalchemy_engine_options]\npool_size = 7\n")
    loaded = load({"MERCENARY_PORT": "8200"})
    assert loaded.settings.port == 8200
    assert loaded.settings.batch_lanes == 3
    assert (
        loaded.settings.sqlalchemy_engine_options.pool_size,
        loaded.settings.sqlalchemy_engine_options.max_overflow,
    ) == (7, 10)
    assert loaded.sources["port"] == "environment MERCENARY_PORT"
    assert loaded.sources["batch_lanes"] == "mercenary.toml batch_lanes"
    assert loaded.sources["host"] == "default"


def test_guides_own_names_are_read_without_a_prefix() -> None:
    loaded = load(
        {
            "SQLALCHEMY_DATABASE_URI": "postgresql://me@db/market",
            "SQLALCHEMY_ENGINE_OPTIONS": '{"pool_size": 5}',
            "CACHE_CONFIG": '{"session": {"CACHE_REDIS_URL": "redis://cache:6379/4"}}',
            "CELERY_BROKER_URL": "redis://broker:6379/0",
        }
    )
    assert loaded.settings.sqlalchemy_database_uri == "postgresql://me@db/market"
    assert loaded.settings.sqlalchemy_engine_options.pool_size == 5
    session = loaded.settings.cache_config.session
    assert (
        session.cache_redis_url,
        session.cache_default_timeout,
    ) == ("redis://cache:6379/4", 86400)
    assert loaded.sources["sqlalchemy_database_uri"] == "SQLALCHEMY_DATABASE_URI"


def test_a_list_is_written_with_commas_in_the_environment() -> None:
    given = load({"MERCENARY_TRUSTED_PROXIES": "10.0.0.0/8, fd00::/8,unix"}).settings
    assert given.trusted_proxies == ("10.0.0.0/8", "fd00::/8", "unix")
    written('trusted_proxies = ["10.0.0.1"]')
    assert load({}).settings.trusted_proxies == ("10.0.0.1",)
    (line,) = refused({"MERCENARY_TRUSTED_PROXIES": "10.0.0.1/8"})
    assert "MERCENARY_TRUSTED_PROXIES" in line
    assert "10.0.0.1/8 has host bits set" in line


def test_every_fault_is_named_at_once() -> None:
    written("prot = 1\nmax_json_depth = 0\n")
    lines = refused({"MERCENARY_PORT": "70000", "MERCENARY_BATCH_LANE": "2", "CACHE_CONFIG": "{"})
    assert len(lines) == 5
    text = "\n".join(lines)
    assert "prot is not a setting; did you mean port?" in text
    assert "max_json_depth is 0" in text
    assert "MERCENARY_PORT is 70000: expected `int` <= 65535" in text
    assert "MERCENARY_BATCH_LANE is not a setting; did you mean MERCENARY_BATCH_LANES?" in text
    assert "CACHE_CONFIG is not valid JSON" in text


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MERCENARY_PORT", "-1"),
        ("MERCENARY_PORT", "eighty"),
        ("MERCENARY_PORT", ""),
        ("MERCENARY_WORKERS", "0"),
        ("MERCENARY_STATEMENT_TIMEOUT", "nan"),
        ("MERCENARY_STATEMENT_TIMEOUT", "inf"),
        ("MERCENARY_ENVIRONMENT", "prod"),
        ("MERCENARY_LOG_LEVEL", "loud"),
        ("MERCENARY_DATA", ""),
        ("SQLALCHEMY_DATABASE_URI", "mysql://root@db/x"),
        ("SQLALCHEMY_ENGINE_OPTIONS", '{"poolsize": 3}'),
        ("SQLALCHEMY_ENGINE_OPTIONS", "[]"),
        ("CACHE_CONFIG", '{"default": {"CACHE_TYPE": "Memcached"}}'),
        ("CACHE_CONFIG", '{"default": {"CACHE_REDIS_URL": "http://cache"}}'),
    ],
)
def test_a_value_out_of_bounds_is_refused_by_its_name(name: str, value: str) -> None:
    lines = refused({name: value})
    assert len(lines) == 1
    assert name in lines[0]


def test_a_broken_file_is_one_line() -> None:
    written("port = = 3\n")
    (line,) = refused({})
    assert line.startswith("mercenary.toml is not valid TOML")
    assert "\n" not in line


def test_a_named_file_must_exist() -> None:
    assert refused({}, Path("other.toml")) == ("other.toml is not there",)


@pytest.mark.parametrize("secret", [None, DEVELOPMENT_SECRET, "short"])
def test_production_refuses_a_missing_default_or_short_secret(secret: str | None) -> None:
    environ = {"MERCENARY_ENVIRONMENT": "production"}
    if secret is not None:
        environ["MERCENARY_SECRET_KEY"] = secret
    (line,) = refused(environ)
    assert "MERCENARY_SECRET_KEY" in line
    assert "short " not in line


def test_production_starts_with_a_secret_of_its_own() -> None:
    loaded = load({"MERCENARY_ENVIRONMENT": "production", "MERCENARY_SECRET_KEY": SECRET})
    assert loaded.settings.secret_key == SECRET


def test_secrets_are_never_shown() -> None:
    assert SECRET not in masked("secret_key", SECRET)
    uri = "postgresql://me:hunter2@db/market"
    assert masked("sqlalchemy_database_uri", uri) == "postgresql://me:********@db/market"
    assert "hunt" not in masked("sqlalchemy_database_uri", "postgresql://me:hunt@er/2@db/market")
    assert "hunt" not in masked("sqlalchemy_database_uri", "postgresql://db/m?password=hunt&a=b")
    config = {"default": {"CACHE_REDIS_URL": "redis://:hunter2@cache/0"}}
    loaded: Loaded = load({"CACHE_CONFIG": msgspec.json.encode(config).decode()})
    assert "hunter2" not in masked("cache_config", loaded.settings.cache_config)


def test_a_refused_value_does_not_show_its_password() -> None:
    (line,) = refused({"SQLALCHEMY_DATABASE_URI": "mysql://me:hunter2@db/x"})
    assert "hunter2" not in line


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        Settings().port = 1  # type: ignore[misc]


def test_origins_are_separated_by_commas_in_the_environment_and_a_list_in_the_file() -> None:
    written('cors_origins = ["http://localhost:5173", "https://[::1]:8443"]\n')
    assert load({}).settings.cors_origins == ("http://localhost:5173", "https://[::1]:8443")
    environ = {"MERCENARY_CORS_ORIGINS": "https://app.example.com, https://admin.example.com"}
    assert load(environ).settings.cors_origins == (
        "https://app.example.com",
        "https://admin.example.com",
    )
    assert load({"MERCENARY_CORS_ORIGINS": ""}).settings.cors_origins == ()


@pytest.mark.parametrize(
    "origin",
    ["*", "null", "app.example.com", "https://", "https://app.example.com/", "https://App.example",
     "https://app.example:443", "http://app.example:80", "https://*.example.com", "ftp://a.example",
     "https://a.example:08", "https://user@a.example", "https://a.example?x", "https://a.example#x"],
)  # fmt: skip
def test_what_no_browser_sends_is_no_origin(origin: str) -> None:
    (line,) = refused({"MERCENARY_CORS_ORIGINS": f"https://good.example,{origin}"})
    assert origin in line
    assert "https://app.example.com" in line


def test_bounds_that_contradict_each_other_are_named_together() -> None:
    (line,) = refused({"MERCENARY_IN_FLIGHT_LEAST": "300"})
    assert "MERCENARY_IN_FLIGHT_LEAST is 300" in line
    assert "MERCENARY_IN_FLIGHT_START is 128" in line


def test_a_cdn_needs_what_it_is_called_with() -> None:
    (line,) = refused(
        {"MERCENARY_CDN": "fastly", "MERCENARY_FASTLY_SERVICE": "SU1Z0isxPaozGVKXdv0eY"}
    )
    assert line == "MERCENARY_CDN is fastly, which needs MERCENARY_FASTLY_TOKEN"
    (line,) = refused({"MERCENARY_CDN": "cloudflare"})
    assert line.endswith("MERCENARY_CLOUDFLARE_ZONE and MERCENARY_CLOUDFLARE_TOKEN")
    (line,) = refused({"MERCENARY_CDN": "varnish", "MERCENARY_VARNISH_ADDRESSES": ""})
    assert line.endswith("MERCENARY_VARNISH_ADDRESSES")
    addresses = "http://10.0.0.7:6081, http://10.0.0.8:6081"
    loaded = load({"MERCENARY_CDN": "varnish", "MERCENARY_VARNISH_ADDRESSES": addresses})
    assert loaded.settings.varnish_addresses == ("http://10.0.0.7:6081", "http://10.0.0.8:6081")


@pytest.mark.parametrize("name", ["fastly_token", "cloudflare_token"])
def test_a_cdns_token_is_never_shown(name: str) -> None:
    assert masked(name, "hunter2") == "********"
    assert masked(name, None) == "(none)"
    (line,) = refused({f"MERCENARY_{name.upper()}": "hunter2\r\nX: y"})
    assert "hunter2" not in line
