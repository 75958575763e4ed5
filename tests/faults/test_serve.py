"""`mercenary serve` refuses at its start what no worker could use."""

import pytest

from tests.faults.conftest import called, only_line


@pytest.mark.parametrize("place", ["host:port/db", "[::1/db"])
def test_a_broken_address_is_one_line_without_its_password(place: str) -> None:
    refused = called("serve", SQLALCHEMY_DATABASE_URI=f"postgresql://ada:engines@{place}")
    assert refused.returncode == 2
    assert "SQLALCHEMY_DATABASE_URI" in only_line(refused.stderr)
    assert "engines" not in refused.stderr
