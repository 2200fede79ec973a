"""Every example is rendered against a real Parameter Store, and read back by a parser of its own format."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
INJECTOR = Path(sys.executable).with_name("injector")


@pytest.fixture(scope="module")
def demo() -> ModuleType:
    """examples/demo.py, which `make demo` runs."""
    spec = importlib.util.spec_from_file_location("demo", ROOT / "examples" / "demo.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def rendered(demo: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The examples as files, rendered as `make demo` does it."""
    target = tmp_path_factory.mktemp("examples") / "config"
    with demo.parameter_store() as endpoint:
        list(demo.put_parameters(endpoint))
        assert demo.render(endpoint, target) == 0
    return target


def read_env(path: Path) -> dict[str, str]:
    lines = [line for line in path.read_text().splitlines() if line and not line.startswith("#")]
    return dict(line.split("=", 1) for line in lines)


def test_every_template_has_its_result_and_nothing_else_is_there(rendered: Path) -> None:
    templates = {
        p.relative_to(ROOT / "examples/templates") for p in (ROOT / "examples/templates").rglob("*") if p.is_file()
    }
    assert {p.relative_to(rendered) for p in rendered.rglob("*") if p.is_file()} == templates


def test_spring(rendered: Path) -> None:
    config: dict[str, Any] = yaml.safe_load((rendered / "spring/application.yml").read_text())
    assert config["spring"]["datasource"] == {
        "url": "jdbc:postgresql://db-1.internal:5432/shop?sslmode=verify-full",
        "username": "shop",
        "password": "Wk7-demo-only-9xQ",
        "hikari": {"maximum-pool-size": 20},
    }
    assert config["spring"]["mail"]["password"] == "demo-smtp-stable"
    assert config["shop"]["jwt"] == {
        "signing-key": "demo-jwt-key-of-this-month",
        "previous-key": "demo-jwt-key-of-last-month",
    }
    assert config["shop"]["build"] == 2041
    assert config["management"]["metrics"]["tags"]["region"] == "eu-west-1"


def test_dotnet(rendered: Path) -> None:
    config = json.loads((rendered / "dotnet/appsettings.json").read_text())
    assert config["ConnectionStrings"]["Shop"] == (
        "Server=db-1.internal,5432;Database=shop;User Id=shop;Password=Wk7-demo-only-9xQ;"
    )
    assert config["Jwt"]["SigningKeys"] == ["demo-jwt-key-of-this-month", "demo-jwt-key-of-last-month"]
    assert config["Features"] == {"checkout": True, "beta": ["search", "wishlist"]}
    assert config["MaxPoolSize"] == 20


def test_dotenv(rendered: Path) -> None:
    assert read_env(rendered / "node/.env") == {
        "NODE_ENV": "production",
        "DATABASE_URL": "postgres://shop:Wk7-demo-only-9xQ@db-1.internal:5432/shop?schema=public",
        "PAYMENT_TOKEN": "pk_demo_4242424242",
        "SENTRY_DSN": "",
        "SYNTAX": "AWSPARAMSTR:///path/of/parameter",
    }


def test_alertmanager_keeps_its_own_templates(rendered: Path) -> None:
    config = yaml.safe_load((rendered / "alertmanager/alertmanager.yml").read_text())
    assert config["global"]["slack_api_url"] == "https://hooks.chat.internal/T00/B00/demo"
    receiver = config["receivers"][0]
    assert receiver["pagerduty_configs"][0] == {
        "routing_key": "demo0routing0key",
        "description": "{{ .CommonLabels.alertname }} in {{ .CommonLabels.namespace }}",
    }
    assert receiver["slack_configs"][0]["title"] == '{{ template "slack.default.title" . }}'


def test_nginx(rendered: Path) -> None:
    text = (rendered / "nginx/shop.conf").read_text()
    assert "zone=shop:10m rate=20r/s;" in text
    assert "    server 10-0-0-7.shop.internal:8443 max_fails=3;\n    keepalive 32;" in text
    assert 'proxy_set_header Authorization "Bearer demo-upstream-bearer";' in text
    assert "proxy_set_header Host $host;" in text


def test_the_demo_says_what_it_does_and_leaves_nothing(tmp_path: Path) -> None:
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "TMPDIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, ROOT / "examples/demo.py"],
        check=False,
        capture_output=True,
        text=True,
        env=environment,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    assert "password: AWSPARAMSTR:///shop/prod/smtp/password[label=stable]" in done.stdout
    assert "demo-smtp-stable" in done.stdout
    assert done.stderr.splitlines() == [
        line for line in done.stderr.splitlines() if line.startswith("rendered 5 files")
    ]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.timeout(600)
def test_the_demonstration_of_the_sidecar_holds() -> None:
    """`make demo-sidecar`: each of its expectations ends it with 1 when it does not hold."""
    program = ROOT / "examples" / "demo_sidecar.py"
    done = subprocess.run([sys.executable, program], capture_output=True, text=True, check=False, timeout=590)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "every expectation held" in done.stdout
