"""What infra/ promises, read from its files; and that each promise notices when one line breaks it."""

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from function.settings import table
from shared import errors
from tests.pubsub_emulator import GooglePubSub, emulator_script
from tests.terraform import Terraform

ROOT = Path(__file__).resolve().parents[1]
INFRA = ROOT / "infra"
SERVICE = "google_cloud_run_v2_service.cutdrop"
FINISHER = "google_cloud_run_v2_service.finisher"
REPLAY = "google_cloud_run_v2_job.replay"
JOB = "google_cloud_run_v2_job.backfill"

# which weights it carries: the Dockerfile
IN_THE_IMAGE = {"MODEL", "MODEL_REVISION", "MODEL_FOLDER", "ESRGAN_MODEL", "VITMATTE_MODEL", "VITMATTE_REVISION"}
NO_SETTINGS = {"GOOGLE_CLOUD_PROJECT"}  # read by the libraries and for traces
BY_THE_CLOUD = {"DEVICE", "REQUIRE_GPU"}  # meant to differ from the default

ROLES = {
    "google_storage_bucket_iam_member": {"roles/storage.objectViewer", "roles/storage.objectUser"},
    "google_pubsub_topic_iam_member": {"roles/pubsub.publisher", "roles/pubsub.subscriber"},
    "google_pubsub_subscription_iam_member": {"roles/pubsub.subscriber"},
    "google_cloud_run_v2_service_iam_member": {"roles/run.invoker"},
    "google_artifact_registry_repository_iam_member": {"roles/artifactregistry.writer"},
    "google_kms_crypto_key_iam_member": {"roles/cloudkms.cryptoKeyEncrypterDecrypter"},
    "google_bigquery_dataset_iam_member": {"roles/bigquery.dataEditor"},
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
    for name, service in files.of("google_cloud_run_v2_service").items():
        if service.get("ingress") != "INGRESS_TRAFFIC_INTERNAL_ONLY" or service.get("invoker_iam_disabled"):
            yield f"{name} can be called from outside"
    for name in ("uploaders", "readers", "subscribers"):
        if "local.member" not in files.variables[name]["validation"][0]["condition"]:
            yield f"{name} may hold allUsers"


def buckets_are_private(files: Terraform) -> Iterator[str]:
    for name, body in files.of("google_storage_bucket").items():
        if body.get("public_access_prevention") != "enforced" or body.get("uniform_bucket_level_access") is not True:
            yield f"bucket {name} may become public"
    if "soft_delete_policy" not in files.resources["google_storage_bucket.images"]:
        yield "a deleted image is gone at once"


def subscriptions_never_expire(files: Terraform) -> Iterator[str]:
    for name, body in files.of("google_pubsub_subscription").items():
        expected = "2678400s" if name == "example" else ""
        if [policy.get("ttl") for policy in body.get("expiration_policy", [])] != [expected]:
            yield f"subscription {name} does not expire as it should"


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
        if "push_config" in body and name != "webhook" and files.value(body["ack_deadline_seconds"]) != ack:
            yield f"subscription {name} does not wait for the answer"


def instances_fit_into_the_quotas_of_a_new_project(files: Terraform) -> Iterator[str]:
    default: dict[str, Any] = {name: body.get("default") for name, body in files.variables.items()}
    together = default["max_instances"] + default["backfill_parallelism"]
    needed = {
        "gpu_quota": together,
        "memory_quota_gib": together * default["memory_gib"] + files.locals["finisher_memory_gib"],
        "cpu_quota": together * default["cpu"] + files.locals["finisher_cpu"],
    }
    for name, granted in {"gpu_quota": 3, "memory_quota_gib": 40, "cpu_quota": 20}.items():
        if not needed[name] <= default[name] <= granted:
            yield f"the defaults need {needed[name]} of {name}, which has {default[name]}, and a new project {granted}"
        if not any(f"<= var.{name}" in rule["condition"] for rule in files.variables["max_instances"]["validation"]):
            yield f"more than {name} is not refused"
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
    if probe.get("initial_delay_seconds") != 0:
        yield "an instance that is ready is left waiting"
    if probe.get("http_get", [{}])[0].get("path") != "/startup":
        yield "the probe does not ask /startup"


def each_instance_has_one_whole_gpu(files: Terraform) -> Iterator[str]:
    template = files.resources[SERVICE]["template"][0]
    for where, part in (("service", template), ("job", files.resources[JOB]["template"][0]["template"][0])):
        if part["containers"][0]["resources"][0]["limits"].get("nvidia.com/gpu") != "1" or "node_selector" not in part:
            yield f"the {where} has no GPU"
        if part.get("gpu_zonal_redundancy_disabled") != "${!var.zonal_redundancy}":
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
    if files.variables["max_delivery_attempts"]["default"] != 100:
        yield "an upload is dead-lettered before its time"


def each_upload_gets_a_last_try_and_then_its_end(files: Terraform) -> Iterator[str]:
    last, end = (files.resources[f"google_pubsub_subscription.{name}"] for name in ("last_try", "given_up"))
    if last["topic"] != "${google_pubsub_topic.dead_letter.id}" or end["topic"] != "${google_pubsub_topic.given_up.id}":
        yield "the stages are not in their order"
    if last["push_config"][0]["push_endpoint"] != f"${{{SERVICE}.uri}}":
        yield "the last try does not go to the service"
    policy = last.get("dead_letter_policy", [{}])[0]
    if policy.get("dead_letter_topic") != "${google_pubsub_topic.given_up.id}":
        yield "what fails its last try gets no outcome"
    if end["push_config"][0]["push_endpoint"] != f"${{{FINISHER}.uri}}/dead-letter" or "dead_letter_policy" in end:
        yield "what is given up does not reach the finisher until it is announced"
    hours = (policy.get("max_delivery_attempts"), files.value(last["retry_policy"][0]["minimum_backoff"]))
    if hours != ("${var.last_try_attempts}", "600s") or files.variables["last_try_attempts"]["default"] != 100:
        yield "the last try is shorter than the simulation says"


def the_finisher_needs_no_gpu_and_no_network(files: Terraform) -> Iterator[str]:
    template = files.resources[FINISHER]["template"][0]
    container = template["containers"][0]
    if container["image"] != "${local.image}" or container.get("command") != ["gunicorn", "-c", "function/finisher.py"]:
        yield "the finisher is not the same image without a network"
    if "node_selector" in template or "nvidia.com/gpu" in container["resources"][0]["limits"]:
        yield "the finisher waits for a GPU"
    if 'REQUIRE_GPU = "false"' not in files.text or 'DEVICE = "cpu"' not in files.text:
        yield "the finisher does not start without a GPU"


def pubsub_may_move_dead_letters_of_every_subscription_that_has_some(files: Terraform) -> Iterator[str]:
    takes = files.resources["google_pubsub_subscription_iam_member.agent_takes_undelivered"]
    puts = files.resources["google_pubsub_topic_iam_member.agent_dead_letters"]
    if "agent.pubsub" not in takes["member"] or "agent.pubsub" not in puts["member"]:
        yield "the rights are another's"
    for name, body in files.of("google_pubsub_subscription").items():
        if "dead_letter_policy" not in body:
            continue
        topic = re.sub(r"\W", "", body["dead_letter_policy"][0]["dead_letter_topic"].split(".")[1]).removesuffix("0")
        if name != "uploads" and f"google_pubsub_subscription.{name}" not in str(takes["for_each"]):
            yield f"Pub/Sub may not take dead letters from {name}"
        if f"google_pubsub_topic.{topic}" not in str(puts["for_each"]):
            yield f"Pub/Sub may not put dead letters on {topic}"
    if "local.upload_subscription" not in str(takes["for_each"]):
        yield "Pub/Sub may not take dead letters from the uploads"


def failures_can_be_replayed(files: Terraform) -> Iterator[str]:
    failures = files.resources["google_pubsub_subscription.failures"]
    if failures.get("retain_acked_messages") is not True or failures["filter"] != 'attributes.status = "failed"':
        yield "the failures of the last days are not kept"
    if files.value(failures["message_retention_duration"]) != "2678400s":
        yield "failures are kept for less than 31 days"
    push = files.resources["google_pubsub_subscription.replay"]["push_config"][0]
    if push["push_endpoint"] != f"${{{SERVICE}.uri}}":
        yield "what is replayed does not reach the service"
    container = files.resources[REPLAY]["template"][0]["template"][0]["containers"][0]
    if container["command"] != ["python", "-m", "function.replay"]:
        yield "the replay job runs something else"
    given = {variable["name"]: variable["value"] for variable in container["env"]}
    if given.get("REPLAY_FAILURES") != "${google_pubsub_subscription.failures.id}":
        yield "the replay job reads something else than the failures"


def nothing_asks_the_cloud_again_when_an_api_is_added(files: Terraform) -> Iterator[str]:
    for name, body in files.data.items():
        if "depends_on" in body:
            yield f"{name} is read again, and what is made of it is planned anew, when its dependency changes"
        if name.startswith("data.google_project."):
            yield "a project without the resource manager's API cannot be planned"
    needed = {"serviceusage.googleapis.com", "cloudresourcemanager.googleapis.com", "containerscanning.googleapis.com"}
    for api in needed - set(re.findall(r'"(\w+\.googleapis\.com)"', files.text)):
        yield f"{api} is enabled nowhere"


def every_gcloud_names_its_project(files: Terraform) -> Iterator[str]:
    for name, body in files.resources.items():
        for provisioner in body.get("provisioner", []):
            command = provisioner["local-exec"]["command"]
            if "gcloud" in command and "--project=" not in command:
                yield f"{name} runs gcloud on whatever project is configured"


def a_network_that_the_image_lacks_is_refused_at_the_plan(files: Terraform) -> Iterator[str]:
    guards = [guard["condition"] for guard in files.resources[SERVICE]["lifecycle"][0]["precondition"]]
    if not any("vitmatte" in guard and "var.vitmatte_model" in guard for guard in guards):
        yield "ALPHA_MATTING = vitmatte without vitmatte_model is not refused"
    if not any("all_settings.DTYPE" in guard and "var.weights_dtype" in guard for guard in guards):
        yield "a DTYPE that the image's weights do not have is not refused"
    if not any("local.memory_needed_gib <= var.memory_gib" in guard for guard in guards):
        yield "more uploads than fit into memory are not refused"


def images_are_scanned(files: Terraform) -> Iterator[str]:
    registry = files.resources["google_artifact_registry_repository.images"]
    if registry.get("vulnerability_scanning_config", [{}])[0].get("enablement_config") != "INHERITED":
        yield "images are not scanned for known vulnerabilities"


def alerts_name_charts_and_headings_that_exist(files: Terraform) -> Iterator[str]:
    guide = (files.folder / "README.md").read_text()
    headings = set(re.findall(r"(?m)^#+ (.+)$", guide))
    charts = {chart[0] for chart in files.locals["charts"]}
    for name, alert in files.locals["alerts"].items():
        named = set(re.findall(r"'([A-Z][^']+)'", alert["advice"]))
        for missing in sorted(named - headings - charts):
            yield f"the alert {name} names {missing!r}"
        if not named & headings and name != "latency":
            yield f"the alert {name} names no heading of infra/README.md"


def the_failure_ratio_counts_our_failures_only(files: Terraform) -> Iterator[str]:
    ours, known = set(files.locals["our_codes"]), _codes_of_rejections()
    if ours - known:
        yield f"{sorted(ours - known)} are no codes"
    for code in ("unsupported_media", "corrupt_image", "invalid_options", "image_too_large", "source_gone"):
        if code in ours:
            yield f"{code} is the uploader's"
    if "local.our_codes" not in files.locals["query"]["failures"]:
        yield "the ratio counts other codes"


def alerts_cover_outages_backfill_and_budget(files: Terraform) -> Iterator[str]:
    needed = {
        "dead_letters",
        "given_up",
        "backlog",
        "retries",
        "unpublished",
        "crashes",
        "backfill",
        "failures",
        "starts",
    }
    for name in sorted(needed - files.locals["alerts"].keys()):
        yield f"no alert for {name}"
    if files.resources["google_monitoring_alert_policy.alert"]["notification_channels"] != "${local.channels}":
        yield "alerts are not mailed"
    if "google_billing_budget.month" not in files.resources:
        yield "no budget"


def each_list_gives_its_people_their_role(files: Terraform) -> Iterator[str]:
    for name, (kind, variable, role) in {
        "uploader": ("google_storage_bucket_iam_member", "uploaders", "roles/storage.objectUser"),
        "reader": ("google_storage_bucket_iam_member", "readers", "roles/storage.objectViewer"),
        "subscriber": ("google_pubsub_topic_iam_member", "subscribers", "roles/pubsub.subscriber"),
    }.items():
        body = files.resources.get(f"{kind}.{name}", {})
        if f"var.{variable}" not in str(body.get("for_each")) or body.get("role") != role:
            yield f"{variable} do not get {role}"
    webhook = files.resources["google_pubsub_subscription.webhook"]
    if webhook["for_each"] != "${var.webhook_urls}" or "oidc_token" not in webhook["push_config"][0]:
        yield "webhooks are not signed"
    if "dead_letter_policy" not in webhook or "retry_policy" not in webhook:
        yield "webhooks are not retried"
    if "var.example_subscriptions" not in files.resources["google_pubsub_subscription.example"]["for_each"]:
        yield "example subscriptions are made unasked"


def the_outcomes_table_needs_no_schema(files: Terraform) -> Iterator[str]:
    config = files.resources["google_pubsub_subscription.outcomes_table"]["bigquery_config"][0]
    if config.get("use_topic_schema") or config.get("use_table_schema") or config.get("write_metadata") is not True:
        yield "maps of the schema would have to become columns"
    columns = re.findall(r'name = "(\w+)", type = "(\w+)"', files.text)
    if ("data", "JSON") not in columns or len(columns) != 5:
        yield "the table is not what Pub/Sub writes"


def the_region_has_the_gpu(files: Terraform) -> Iterator[str]:
    if "local.gpu_regions[var.gpu]" not in files.variables["region"]["validation"][0]["condition"]:
        yield "a region without the GPU is not refused"
    if files.variables["region"]["default"] not in files.locals["gpu_regions"]["nvidia-l4"]:
        yield "the default region has no L4"


def _codes_of_rejections() -> set[str]:
    found: set[str] = set()
    left = list(errors.RejectedUpload.__subclasses__())
    while left:
        kind = left.pop()
        left += kind.__subclasses__()
        found.add(getattr(kind, "code", ""))
    return found


def each_worker_has_its_own_account(files: Terraform) -> Iterator[str]:
    expected = {
        "runtime": files.resources[SERVICE]["template"][0],
        "backfill": files.resources[JOB]["template"][0]["template"][0],
        "finisher": files.resources[FINISHER]["template"][0],
        "replay": files.resources[REPLAY]["template"][0]["template"][0],
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
    instances_fit_into_the_quotas_of_a_new_project,
    the_probe_waits_for_the_weights_within_240_s,
    each_instance_has_one_whole_gpu,
    both_transports_deliver_the_same_way,
    each_upload_gets_a_last_try_and_then_its_end,
    the_finisher_needs_no_gpu_and_no_network,
    pubsub_may_move_dead_letters_of_every_subscription_that_has_some,
    failures_can_be_replayed,
    nothing_asks_the_cloud_again_when_an_api_is_added,
    every_gcloud_names_its_project,
    a_network_that_the_image_lacks_is_refused_at_the_plan,
    images_are_scanned,
    alerts_name_charts_and_headings_that_exist,
    the_failure_ratio_counts_our_failures_only,
    alerts_cover_outages_backfill_and_budget,
    each_list_gives_its_people_their_role,
    the_outcomes_table_needs_no_schema,
    the_region_has_the_gpu,
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
    ("dead_letters.tf", 'ttl = "" # never: it is idle', 'ttl = "2678400s" #', subscriptions_never_expire),
    ("messaging.tf", 'ttl = "2678400s"', 'ttl = ""', subscriptions_never_expire),
    ("messaging.tf", "ack_deadline_s    = 600", "ack_deadline_s    = 500", deadlines_nest),
    ("variables.tf", "default     = 540", "default     = 240", deadlines_nest),
    ("variables.tf", "var.request_timeout_s < local.ack_deadline_s", "var.request_timeout_s <= 3600", deadlines_nest),
    (
        "variables.tf",
        "var.max_instances + var.backfill_parallelism <= var.gpu_quota",
        "var.max_instances <= 100",
        instances_fit_into_the_quotas_of_a_new_project,
    ),
    ("variables.tf", "default     = 16\n", "default     = 32\n", instances_fit_into_the_quotas_of_a_new_project),
    ("variables.tf", "<= var.cpu_quota", "<= 1000", instances_fit_into_the_quotas_of_a_new_project),
    (
        "dead_letters.tf",
        "finisher_memory_gib = 2",
        "finisher_memory_gib = 9",
        instances_fit_into_the_quotas_of_a_new_project,
    ),
    (
        "service.tf",
        "failure_threshold     = 24",
        "failure_threshold = 60",
        the_probe_waits_for_the_weights_within_240_s,
    ),
    (
        "service.tf",
        "initial_delay_seconds = 0",
        "initial_delay_seconds = 240",
        the_probe_waits_for_the_weights_within_240_s,
    ),
    ("service.tf", 'path = "/startup"', 'path = "/"', the_probe_waits_for_the_weights_within_240_s),
    ("service.tf", "cpu_idle          = false", "cpu_idle          = true", each_instance_has_one_whole_gpu),
    ("job.tf", "gpu_zonal_redundancy_disabled = !var.zonal_redundancy", "", each_instance_has_one_whole_gpu),
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
    ("variables.tf", "default     = 100\n", "default     = 50\n", both_transports_deliver_the_same_way),
    ("dead_letters.tf", ".uri}/dead-letter", ".uri}/", each_upload_gets_a_last_try_and_then_its_end),
    (
        "dead_letters.tf",
        "dead_letter_topic     = google_pubsub_topic.given_up.id",
        "dead_letter_topic     = google_pubsub_topic.dead_letter.id",
        each_upload_gets_a_last_try_and_then_its_end,
    ),
    (
        "dead_letters.tf",
        "minimum_backoff = local.maximum_backoff",
        "minimum_backoff = local.minimum_backoff",
        each_upload_gets_a_last_try_and_then_its_end,
    ),
    ("dead_letters.tf", "function/finisher.py", "function/server.py", the_finisher_needs_no_gpu_and_no_network),
    ("dead_letters.tf", ', REQUIRE_GPU = "false"', "", the_finisher_needs_no_gpu_and_no_network),
    (
        "identity.tf",
        "      replay   = google_pubsub_subscription.replay.name\n",
        "",
        pubsub_may_move_dead_letters_of_every_subscription_that_has_some,
    ),
    (
        "identity.tf",
        ", given-up = google_pubsub_topic.given_up.id",
        "",
        pubsub_may_move_dead_letters_of_every_subscription_that_has_some,
    ),
    ("replay.tf", "retain_acked_messages      = true", "", failures_can_be_replayed),
    ("replay.tf", '"function.replay"', '"function.backfill"', failures_can_be_replayed),
    (
        "identity.tf",
        '"google_storage_project_service_account" "agent" {}',
        '"google_storage_project_service_account" "agent" {\n  depends_on = [google_project_service.api]\n}',
        nothing_asks_the_cloud_again_when_an_api_is_added,
    ),
    (
        "versions.tf",
        '    "cloudresourcemanager.googleapis.com",\n',
        "",
        nothing_asks_the_cloud_again_when_an_api_is_added,
    ),
    ("trigger.tf", '--project="$PROJECT" ', "", every_gcloud_names_its_project),
    ("service.tf", '|| var.vitmatte_model != ""', "|| true", a_network_that_the_image_lacks_is_refused_at_the_plan),
    (
        "service.tf",
        'contains(["", replace(local.all_settings.DTYPE, "auto", "float16")], var.weights_dtype)',
        'local.all_settings.DTYPE != ""',
        a_network_that_the_image_lacks_is_refused_at_the_plan,
    ),
    (
        "service.tf",
        "local.memory_needed_gib <= var.memory_gib",
        "var.memory_gib > 0",
        a_network_that_the_image_lacks_is_refused_at_the_plan,
    ),
    ("registry.tf", '"INHERITED"', '"DISABLED"', images_are_scanned),
    (
        "monitoring.tf",
        "infra/README.md: 'Replay'",
        "infra/README.md: 'Drain'",
        alerts_name_charts_and_headings_that_exist,
    ),
    ("README.md", "### Quotas", "### Limits", alerts_name_charts_and_headings_that_exist),
    ("monitoring.tf", '["Instances", ""', '["Machines", ""', alerts_name_charts_and_headings_that_exist),
    ("monitoring.tf", '["gave_up", ', '["gave_up", "corrupt_image", ', the_failure_ratio_counts_our_failures_only),
    ("monitoring.tf", '["gave_up", ', '["gave_upp", ', the_failure_ratio_counts_our_failures_only),
    (
        "monitoring.tf",
        "    unpublished = {\n      title",
        "    silent = {\n      title",
        alerts_cover_outages_backfill_and_budget,
    ),
    (
        "monitoring.tf",
        "notification_channels = local.channels",
        "notification_channels = []",
        alerts_cover_outages_backfill_and_budget,
    ),
    ("identity.tf", "toset(var.readers)", "toset([])", each_list_gives_its_people_their_role),
    (
        "messaging.tf",
        'toset(var.example_subscriptions ? ["completed", "failed"] : [])',
        'toset(["completed", "failed"])',
        each_list_gives_its_people_their_role,
    ),
    (
        "messaging.tf",
        "    write_metadata = true",
        "    write_metadata = true\n    use_topic_schema = true",
        the_outcomes_table_needs_no_schema,
    ),
    (
        "messaging.tf",
        'name = "data", type = "JSON"',
        'name = "data", type = "BYTES"',
        the_outcomes_table_needs_no_schema,
    ),
    ("variables.tf", "local.gpu_regions[var.gpu]", '["moon-base1"]', the_region_has_the_gpu),
    ("variables.tf", "can(regex(local.member, member))", "true", nobody_is_public),
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
    values |= {
        "ACK_DEADLINE": "600",
        "ATTEMPTS": "100",
        "PROJECT": "test",
        "SUBSCRIPTION": f"{project}/subscriptions/eventarc-1",
    }
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
    assert after.dead_letter_policy.max_delivery_attempts == 100
