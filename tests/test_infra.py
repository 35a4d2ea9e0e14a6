"""What infra/ promises, read from its files; and that each promise notices when one line breaks it."""

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from function.settings import table
from shared import errors
from tests.pubsub_emulator import GooglePubSub, emulator_script
from tests.terraform import Terraform

ROOT = Path(__file__).resolve().parents[1]
INFRA = ROOT / "infra"
SERVICE = "google_cloud_run_v2_service.cutdrop"
JOB = "google_cloud_run_v2_job.backfill"

# which weights it carries: the Dockerfile
IN_THE_IMAGE = {"MODEL", "MODEL_REVISION", "MODEL_FOLDER", "ESRGAN_MODEL", "VITMATTE_MODEL", "VITMATTE_REVISION"}
NO_SETTINGS = {"GOOGLE_CLOUD_PROJECT"}  # read by the libraries and for traces
BY_THE_CLOUD = {"DEVICE", "REQUIRE_GPU"}  # meant to differ from the default

ROLES = {
    "google_storage_bucket_iam_member": {"roles/storage.objectViewer", "roles/storage.objectUser"},
    "google_pubsub_topic_iam_member": {"roles/pubsub.publisher"},
    "google_pubsub_subscription_iam_member": {"roles/pubsub.subscriber"},
    "google_cloud_run_v2_service_iam_member": {"roles/run.invoker"},
    "google_artifact_registry_repository_iam_member": {"roles/artifactregistry.writer"},
    "google_kms_crypto_key_iam_member": {"roles/cloudkms.cryptoKeyEncrypterDecrypter"},
    "google_project_iam_member": {"roles/eventarc.eventReceiver", "roles/pubsub.publisher", "roles/logging.logWriter"},
}


def each_setting_exists_with_the_same_default(files: Terraform) -> Iterator[str]:
    known = {setting.name: setting.default for setting in table()}
    for name, default in files.locals["setting_defaults"].items():
        if known.get(name) != default:
            yield f"{name} = {default!r}, the service has {known.get(name)!r}"
    fixed = files.locals["fixed_settings"]
    for name in known.keys() - files.locals["setting_defaults"].keys() - fixed.keys() - IN_THE_IMAGE:
        yield f"{name} is set nowhere"
    for name in fixed.keys() - known.keys() - NO_SETTINGS:
        yield f"{name} is not a setting"
    if str(files.variables["concurrency"]["default"]) != known["CONCURRENCY"]:
        yield "concurrency has another default than CONCURRENCY"


def the_server_has_as_many_threads_as_cloud_run_sends_requests(files: Terraform) -> Iterator[str]:
    template = files.resources[SERVICE]["template"][0]
    if template["max_instance_request_concurrency"] != "${var.concurrency}":
        yield "Cloud Run's concurrency is not var.concurrency"
    if "var.concurrency" not in files.locals["fixed_settings"]["CONCURRENCY"]:
        yield "CONCURRENCY is not var.concurrency"


def roles_are_on_the_list(files: Terraform) -> Iterator[str]:
    for name, body in files.resources.items():
        kind = name.partition(".")[0]
        if "_iam_" in kind and body["role"] not in ROLES.get(kind, set()):
            yield f"{name} gives {body['role']}"


def nobody_is_public(files: Terraform) -> Iterator[str]:
    yield from (f"{word} is a member" for word in ("allUsers", "allAuthenticatedUsers") if word in files.text)
    service = files.resources[SERVICE]
    if service.get("ingress") != "INGRESS_TRAFFIC_INTERNAL_ONLY" or service.get("invoker_iam_disabled"):
        yield "the service can be called from outside"


def buckets_are_private(files: Terraform) -> Iterator[str]:
    for name, body in files.of("google_storage_bucket").items():
        if body.get("public_access_prevention") != "enforced" or body.get("uniform_bucket_level_access") is not True:
            yield f"bucket {name} may become public"
    if "soft_delete_policy" not in files.resources["google_storage_bucket.images"]:
        yield "a deleted image is gone at once"


def subscriptions_never_expire(files: Terraform) -> Iterator[str]:
    for name, body in files.of("google_pubsub_subscription").items():
        if [policy.get("ttl") for policy in body.get("expiration_policy", [])] != [""]:
            yield f"subscription {name} expires"


def deadlines_nest(files: Terraform) -> Iterator[str]:
    ack, timeout = files.locals["ack_deadline_s"], files.variables["request_timeout_s"]
    budget = int(files.locals["setting_defaults"]["REQUEST_BUDGET_S"])
    if not 600 == ack > timeout["default"] > budget:
        yield f"ack {ack} > timeout {timeout['default']} > budget {budget} does not hold"
    if "var.request_timeout_s < local.ack_deadline_s" not in timeout["validation"][0]["condition"]:
        yield "a timeout above the ack deadline is not refused"
    guards = [guard["condition"] for guard in files.resources[SERVICE]["lifecycle"][0]["precondition"]]
    if not any("REQUEST_BUDGET_S)) < var.request_timeout_s" in guard for guard in guards):
        yield "a budget above the timeout is not refused"
    if files.value(files.resources[SERVICE]["template"][0]["timeout"]) != f"{timeout['default']}s":
        yield "the service's timeout is not request_timeout_s"
    for name, body in files.of("google_pubsub_subscription").items():
        if "push_config" in body and files.value(body["ack_deadline_seconds"]) != ack:
            yield f"subscription {name} does not wait for the answer"


def instances_fit_into_the_quota(files: Terraform) -> Iterator[str]:
    most, tasks = files.variables["max_instances"], files.variables["backfill_parallelism"]
    if most["default"] + tasks["default"] > files.variables["gpu_quota"]["default"]:
        yield "the defaults need more GPUs than there are"
    if "var.max_instances + var.backfill_parallelism <= var.gpu_quota" not in most["validation"][0]["condition"]:
        yield "more instances than GPUs are not refused"
    scaling = files.resources[SERVICE]["template"][0]["scaling"][0]
    if scaling != {"min_instance_count": "${var.min_instances}", "max_instance_count": "${var.max_instances}"}:
        yield "the service's instances are not bounded by the variables"
    if files.resources[JOB]["template"][0]["parallelism"] != "${var.backfill_parallelism}":
        yield "the job's tasks are not bounded by the variable"


def the_probe_waits_for_the_weights_within_240_s(files: Terraform) -> Iterator[str]:
    probe = files.resources[SERVICE]["template"][0]["containers"][0]["startup_probe"][0]
    window = probe["period_seconds"] * probe["failure_threshold"]
    if not 200 <= window <= 240 or probe["timeout_seconds"] > probe["period_seconds"]:
        yield f"the probe gives {window} s"
    if probe.get("http_get", [{}])[0].get("path") != "/startup":
        yield "the probe does not ask /startup"


def each_instance_has_one_whole_gpu(files: Terraform) -> Iterator[str]:
    template = files.resources[SERVICE]["template"][0]
    for where, part in (("service", template), ("job", files.resources[JOB]["template"][0]["template"][0])):
        if part["containers"][0]["resources"][0]["limits"].get("nvidia.com/gpu") != "1" or "node_selector" not in part:
            yield f"the {where} has no GPU"
        if part.get("gpu_zonal_redundancy_disabled") is not True:
            yield f"the {where} draws on another quota"
    if template["containers"][0]["resources"][0].get("cpu_idle") is not False:
        yield "the CPUs sleep between requests"


def both_transports_deliver_the_same_way(files: Terraform) -> Iterator[str]:
    for word, kinds in {
        "eventarc": ("google_eventarc_trigger.uploads", "terraform_data.eventarc_subscription"),
        "notification": ("google_storage_notification.uploads", "google_pubsub_subscription.uploads"),
    }.items():
        for kind in kinds:
            if f'var.transport == "{word}"' not in str(files.resources.get(kind, {}).get("count", "")):
                yield f"{kind} does not belong to transport {word}"
    trigger = files.resources["google_eventarc_trigger.uploads"]
    if trigger["location"] != '${lower(google_storage_bucket.images["upload"].location)}':
        yield "the trigger is not where its bucket is"
    step = files.resources["terraform_data.eventarc_subscription"]["provisioner"][0]["local-exec"]
    flags = dict(re.findall(r'--([a-z-]+)="?\$?(\w+)"?', step["command"]))
    own = files.resources["google_pubsub_subscription.uploads"]
    for flag, expected in {
        "ack-deadline": own["ack_deadline_seconds"],
        "message-retention-duration": own["message_retention_duration"],
        "min-retry-delay": own["retry_policy"][0]["minimum_backoff"],
        "max-retry-delay": own["retry_policy"][0]["maximum_backoff"],
        "dead-letter-topic": own["dead_letter_policy"][0]["dead_letter_topic"],
        "max-delivery-attempts": own["dead_letter_policy"][0]["max_delivery_attempts"],
    }.items():
        if step["environment"].get(flags.get(flag, "")) != expected:
            yield f"gcloud's --{flag} is not {expected}"
    if flags.get("expiration-period") != "never":
        yield "the managed subscription expires"


def dead_letters_reach_the_service(files: Terraform) -> Iterator[str]:
    push = files.resources["google_pubsub_subscription.dead_letter"].get("push_config", [{}])[0]
    if not push.get("push_endpoint", "").endswith(".uri}/dead-letter") or "oidc_token" not in push:
        yield "dead letters are not pushed to /dead-letter"
    roles = {
        "google_pubsub_topic_iam_member.agent_dead_letters": "topic",
        "google_pubsub_subscription_iam_member.agent_takes_undelivered": "subscription",
    }
    for name, side in roles.items():
        if "agent.pubsub" not in files.resources.get(name, {}).get("member", ""):
            yield f"Pub/Sub may not move dead letters ({side})"


def each_worker_has_its_own_account(files: Terraform) -> Iterator[str]:
    expected = {
        "runtime": files.resources[SERVICE]["template"][0],
        "backfill": files.resources[JOB]["template"][0]["template"][0],
    }
    for account, part in expected.items():
        if part["service_account"] != f'${{google_service_account.account["{account}"].email}}':
            yield f"{part['service_account']} runs where {account} should"


def variables_are_described_typed_and_validated(files: Terraform) -> Iterator[str]:
    for name, body in files.variables.items():
        needed = ("description", "type") if body.get("type") == "bool" else ("description", "type", "validation")
        yield from (f"variable {name} has no {part}" for part in needed if not body.get(part))
    yield from (
        f"output {name} has no description" for name, body in files.outputs.items() if "description" not in body
    )


def the_provider_is_pinned(files: Terraform) -> Iterator[str]:
    if files.settings["required_providers"][0]["google"]["version"] != ">= 7.44, < 8.0":
        yield "another google provider"


def a_failed_start_is_counted_under_the_names_that_the_server_prints(files: Terraform) -> Iterator[str]:
    pattern = re.search(r"\^\((\S+?)\): ", files.resources["google_logging_metric.gpu_start_failures"]["filter"])
    named = set(pattern[1].split("|")) if pattern else set()
    if named != {error.__name__ for error in (errors.GpuUnavailable, errors.WeightsError, errors.SettingsError)}:
        yield f"starts that failed are looked for as {sorted(named)}"


PROMISES: list[Callable[[Terraform], Iterator[str]]] = [
    each_setting_exists_with_the_same_default,
    the_server_has_as_many_threads_as_cloud_run_sends_requests,
    roles_are_on_the_list,
    nobody_is_public,
    buckets_are_private,
    subscriptions_never_expire,
    deadlines_nest,
    instances_fit_into_the_quota,
    the_probe_waits_for_the_weights_within_240_s,
    each_instance_has_one_whole_gpu,
    both_transports_deliver_the_same_way,
    dead_letters_reach_the_service,
    each_worker_has_its_own_account,
    variables_are_described_typed_and_validated,
    the_provider_is_pinned,
    a_failed_start_is_counted_under_the_names_that_the_server_prints,
]

BREAKS = [  # file, line, what becomes of it, the promise that must notice
    ("service.tf", 'MASK_THRESHOLD    = "0.6"', 'MASK_THRESHOLD = "0.5"', each_setting_exists_with_the_same_default),
    ("service.tf", 'MAX_QUEUE         = "16"', 'MAX_QUEU = "16"', each_setting_exists_with_the_same_default),
    ("service.tf", 'PATCH_ORDER   = "auto"', "", each_setting_exists_with_the_same_default),
    (
        "service.tf",
        "max_instance_request_concurrency = var.concurrency",
        "max_instance_request_concurrency = 80",
        the_server_has_as_many_threads_as_cloud_run_sends_requests,
    ),
    ("identity.tf", '"roles/storage.objectUser"', '"roles/storage.admin"', roles_are_on_the_list),
    ("identity.tf", '"roles/eventarc.eventReceiver"', '"roles/editor"', roles_are_on_the_list),
    (
        "identity.tf",
        'role     = "roles/run.invoker"\n  member   = google_service_account.account["trigger"].member',
        'role     = "roles/run.invoker"\n  member   = "allUsers"',
        nobody_is_public,
    ),
    ("service.tf", '"INGRESS_TRAFFIC_INTERNAL_ONLY"', '"INGRESS_TRAFFIC_ALL"', nobody_is_public),
    (
        "storage.tf",
        'public_access_prevention    = "enforced"',
        'public_access_prevention = "inherited"',
        buckets_are_private,
    ),
    ("messaging.tf", 'ttl = "" # never: it is idle', 'ttl = "2678400s" #', subscriptions_never_expire),
    ("messaging.tf", "ack_deadline_s  = 600", "ack_deadline_s  = 500", deadlines_nest),
    ("variables.tf", "default     = 540", "default     = 240", deadlines_nest),
    ("variables.tf", "var.request_timeout_s < local.ack_deadline_s", "var.request_timeout_s <= 3600", deadlines_nest),
    (
        "variables.tf",
        "var.max_instances + var.backfill_parallelism <= var.gpu_quota",
        "var.max_instances <= 100",
        instances_fit_into_the_quota,
    ),
    ("service.tf", "failure_threshold = 24", "failure_threshold = 60", the_probe_waits_for_the_weights_within_240_s),
    ("service.tf", 'path = "/startup"', 'path = "/"', the_probe_waits_for_the_weights_within_240_s),
    ("service.tf", "cpu_idle          = false", "cpu_idle          = true", each_instance_has_one_whole_gpu),
    ("job.tf", "gpu_zonal_redundancy_disabled = true", "", each_instance_has_one_whole_gpu),
    (
        "trigger.tf",
        'var.transport == "notification" ? 1 : 0\n\n  bucket',
        "0 == 0 ? 1 : 0\n\n  bucket",
        both_transports_deliver_the_same_way,
    ),
    ("trigger.tf", '--dead-letter-topic="$DEAD_LETTER_TOPIC" ', "", both_transports_deliver_the_same_way),
    (
        "trigger.tf",
        "ACK_DEADLINE      = local.ack_deadline_s",
        "ACK_DEADLINE      = 10",
        both_transports_deliver_the_same_way,
    ),
    ("messaging.tf", ".uri}/dead-letter", ".uri}/", dead_letters_reach_the_service),
    ("job.tf", 'account["backfill"]', 'account["runtime"]', each_worker_has_its_own_account),
    ("variables.tf", "Age at which uploads are deleted; 0 = never.", "", variables_are_described_typed_and_validated),
    ("versions.tf", ">= 7.44", ">= 5.0", the_provider_is_pinned),
    (
        "monitoring.tf",
        "GpuUnavailable|",
        "",
        a_failed_start_is_counted_under_the_names_that_the_server_prints,
    ),
]


def broken(folder: Path) -> dict[str, list[str]]:
    """{promise: what is wrong}, without those that hold."""
    files = Terraform(folder)
    found = {promise.__name__: list(promise(files)) for promise in PROMISES}
    return {name: problems for name, problems in found.items() if problems}


@pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: promise.__name__)
def test_the_infrastructure_keeps_its_promise(promise):
    assert list(promise(Terraform(INFRA))) == []


@pytest.mark.parametrize(("file", "line", "instead", "promise"), BREAKS)
def test_breaking_one_line_breaks_its_promise_and_no_other(file, line, instead, promise, tmp_path):
    shutil.copytree(INFRA, tmp_path / "infra", ignore=shutil.ignore_patterns(".terraform*"))
    edited = tmp_path / "infra" / file
    assert edited.read_text().count(line) >= 1
    edited.write_text(edited.read_text().replace(line, instead, 1))
    assert list(broken(tmp_path / "infra")) == [promise.__name__]


def test_every_promise_is_seen_broken_at_least_once():
    assert {promise for *_, promise in BREAKS} == set(PROMISES)


@pytest.mark.skipif(shutil.which("terraform") is None, reason="terraform is not installed")
def test_the_files_are_formatted():
    command = ["terraform", "fmt", "-check", "-recursive", str(INFRA)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.emulator
@pytest.mark.skipif(emulator_script() is None or shutil.which("gcloud") is None, reason="no Cloud SDK")
def test_the_one_imperative_step_corrects_a_subscription_as_eventarc_makes_it(tmp_path):
    from google.cloud import pubsub_v1

    step = Terraform(INFRA).resources["terraform_data.eventarc_subscription"]["provisioner"][0]["local-exec"]
    command = step["command"].removeprefix("<<-EOT").removesuffix("EOT").replace("--expiration-period=never", "")
    project, values = "projects/test", {"RETENTION": "604800s", "MIN_BACKOFF": "10s", "MAX_BACKOFF": "600s"}
    values |= {"ACK_DEADLINE": "600", "ATTEMPTS": "50", "SUBSCRIPTION": f"{project}/subscriptions/eventarc-1"}
    values |= {"DEAD_LETTER_TOPIC": f"{project}/topics/dead-letter"}
    assert values.keys() == step["environment"].keys()
    with GooglePubSub() as emulator, pytest.MonkeyPatch.context() as environment:
        environment.setenv("PUBSUB_EMULATOR_HOST", emulator.address)
        publisher, subscriber = pubsub_v1.PublisherClient(), pubsub_v1.SubscriberClient()
        for topic in ("eventarc-1", "dead-letter"):
            publisher.create_topic(name=f"{project}/topics/{topic}")
        push = {"push_endpoint": "http://127.0.0.1:9/"}
        made = {"name": values["SUBSCRIPTION"], "topic": f"{project}/topics/eventarc-1", "push_config": push}
        subscriber.create_subscription(request=made | {"ack_deadline_seconds": 10})
        gcloud = {
            "CLOUDSDK_API_ENDPOINT_OVERRIDES_PUBSUB": f"http://{emulator.address}/",
            "CLOUDSDK_AUTH_DISABLE_CREDENTIALS": "true",
            "CLOUDSDK_CONFIG": str(tmp_path),
            "CLOUDSDK_CORE_PROJECT": "test",
        }
        subprocess.run(command, shell=True, check=True, capture_output=True, env={**os.environ, **gcloud, **values})
        after = subscriber.get_subscription(subscription=values["SUBSCRIPTION"])
    assert (after.ack_deadline_seconds, after.push_config.push_endpoint) == (600, "http://127.0.0.1:9/")
    assert (after.message_retention_duration.days, after.retry_policy.maximum_backoff.seconds) == (7, 600)
    assert after.dead_letter_policy.dead_letter_topic == values["DEAD_LETTER_TOPIC"]
    assert after.dead_letter_policy.max_delivery_attempts == 50
