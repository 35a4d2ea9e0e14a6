# The completion topic, who may listen to it, and where uploads go that could not be delivered.

locals {
  ack_deadline_s  = 600       # the longest there is; for push it is also how long Pub/Sub waits for the answer
  retention       = "604800s" # 7 days: an outage of a week loses nothing
  minimum_backoff = "10s"
  maximum_backoff = "600s"
}

resource "google_pubsub_schema" "completion" {
  name       = "${var.name}-completion"
  type       = "AVRO"
  definition = file("${path.module}/completion.avsc")
  depends_on = [google_project_service.api]
}

resource "google_pubsub_topic" "completion" {
  name         = "${var.name}-completion"
  kms_key_name = local.kms_key
  labels       = var.labels

  schema_settings {
    schema   = google_pubsub_schema.completion.id
    encoding = "JSON"
  }

  depends_on = [google_kms_crypto_key_iam_member.agent]
}

# Examples to copy: one subscription per reader. Filters see attributes only, and cannot be changed later.
resource "google_pubsub_subscription" "outcome" {
  for_each = toset(["completed", "failed"])

  name                       = "${var.name}-${each.key}"
  topic                      = google_pubsub_topic.completion.id
  filter                     = "attributes.status = \"${each.key}\""
  ack_deadline_seconds       = 60
  message_retention_duration = local.retention
  labels                     = var.labels

  expiration_policy {
    ttl = "" # never: without readers for 31 days a subscription would vanish
  }
}

resource "google_pubsub_topic" "dead_letter" {
  name         = "${var.name}-dead-letter"
  kms_key_name = local.kms_key
  labels       = var.labels
  depends_on   = [google_project_service.api, google_kms_crypto_key_iam_member.agent]
}

# The service turns what arrives here into failure messages with code gave_up: even a dead letter has an outcome.
resource "google_pubsub_subscription" "dead_letter" {
  name                       = "${var.name}-dead-letter"
  topic                      = google_pubsub_topic.dead_letter.id
  ack_deadline_seconds       = local.ack_deadline_s
  message_retention_duration = local.retention
  labels                     = var.labels

  expiration_policy {
    ttl = "" # never: it is idle for months when all is well, and is needed on the day it is not
  }

  retry_policy {
    minimum_backoff = local.minimum_backoff
    maximum_backoff = local.maximum_backoff
  }

  push_config {
    push_endpoint = "${google_cloud_run_v2_service.cutdrop.uri}/dead-letter"
    oidc_token {
      service_account_email = google_service_account.account["trigger"].email
      audience              = google_cloud_run_v2_service.cutdrop.uri
    }
  }

  depends_on = [google_cloud_run_v2_service_iam_member.trigger_invokes]
}
