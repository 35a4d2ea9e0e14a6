# How the service hears of an upload: by Eventarc, or by a storage notification to a topic of our own (var.transport).
# Messages waiting at the moment of a switch are lost with their subscription: run the backfill job after it.

# ---- transport = "eventarc"

# In a project that never used Eventarc its agent gets its rights a few minutes after the API is on: if the first apply
# ends with "Permission denied while using the Eventarc Service Agent", apply again.
resource "google_eventarc_trigger" "uploads" {
  count = var.transport == "eventarc" ? 1 : 0

  name                    = "${var.name}-uploads"
  location                = lower(google_storage_bucket.images["upload"].location) # the bucket's, not the service's
  service_account         = google_service_account.account["trigger"].email
  event_data_content_type = "application/json"
  labels                  = var.labels

  matching_criteria {
    attribute = "type"
    value     = "google.cloud.storage.object.v1.finalized"
  }

  matching_criteria {
    attribute = "bucket"
    value     = google_storage_bucket.images["upload"].name
  }

  destination {
    cloud_run_service {
      service = google_cloud_run_v2_service.cutdrop.name
      region  = var.region
    }
  }

  depends_on = [
    google_project_iam_member.storage_publishes,
    google_project_iam_member.trigger_receives,
    google_cloud_run_v2_service_iam_member.trigger_invokes,
  ]
}

locals {
  eventarc_subscription = one(google_eventarc_trigger.uploads[*].transport[0].pubsub[0].subscription)
}

# Eventarc makes the subscription with an ack deadline of 10 s (shorter than a cold start: every first upload would be
# worked on twice), 24 h of retention and no dead-letter topic, and the provider cannot say otherwise. So gcloud does,
# on the machine that runs Terraform, which needs `gcloud auth login` beside Terraform's own credentials;
# `check.upload_subscription` below tells at every plan whether it still holds. transport = "notification" needs no gcloud.
resource "terraform_data" "eventarc_subscription" {
  count = var.transport == "eventarc" ? 1 : 0

  input = local.eventarc_subscription
  triggers_replace = [
    local.eventarc_subscription,
    google_pubsub_topic.dead_letter.id,
    local.ack_deadline_s,
    local.retention,
    var.max_delivery_attempts,
  ]

  provisioner "local-exec" {
    command = <<-EOT
      gcloud pubsub subscriptions update "$SUBSCRIPTION" --project="$PROJECT" --quiet \
        --ack-deadline="$ACK_DEADLINE" --message-retention-duration="$RETENTION" --expiration-period=never \
        --min-retry-delay="$MIN_BACKOFF" --max-retry-delay="$MAX_BACKOFF" \
        --dead-letter-topic="$DEAD_LETTER_TOPIC" --max-delivery-attempts="$ATTEMPTS"
    EOT
    environment = {
      PROJECT           = var.project
      SUBSCRIPTION      = local.eventarc_subscription
      ACK_DEADLINE      = local.ack_deadline_s
      RETENTION         = local.retention
      MIN_BACKOFF       = local.minimum_backoff
      MAX_BACKOFF       = local.maximum_backoff
      DEAD_LETTER_TOPIC = google_pubsub_topic.dead_letter.id
      ATTEMPTS          = var.max_delivery_attempts
    }
  }
}

# ---- transport = "notification"

resource "google_pubsub_topic" "uploads" {
  count = var.transport == "notification" ? 1 : 0

  name         = "${var.name}-uploads"
  kms_key_name = local.kms_key
  labels       = var.labels
  depends_on   = [google_project_service.api, google_kms_crypto_key_iam_member.agent]
}

resource "google_storage_notification" "uploads" {
  count = var.transport == "notification" ? 1 : 0

  bucket             = google_storage_bucket.images["upload"].name
  topic              = google_pubsub_topic.uploads[0].id
  payload_format     = "JSON_API_V1"
  object_name_prefix = lookup(local.chosen_settings, "UPLOAD_PREFIX", null)
  event_types        = ["OBJECT_FINALIZE"]
  depends_on         = [google_pubsub_topic_iam_member.storage_announces]
}

resource "google_pubsub_subscription" "uploads" {
  count = var.transport == "notification" ? 1 : 0

  name                       = "${var.name}-uploads"
  topic                      = google_pubsub_topic.uploads[0].id
  ack_deadline_seconds       = local.ack_deadline_s
  message_retention_duration = local.retention
  labels                     = var.labels

  expiration_policy {
    ttl = ""
  }

  retry_policy {
    minimum_backoff = local.minimum_backoff
    maximum_backoff = local.maximum_backoff
  }

  dead_letter_policy {
    dead_letter_topic     = google_pubsub_topic.dead_letter.id
    max_delivery_attempts = var.max_delivery_attempts
  }

  push_config {
    push_endpoint = google_cloud_run_v2_service.cutdrop.uri
    oidc_token {
      service_account_email = google_service_account.account["trigger"].email
      audience              = google_cloud_run_v2_service.cutdrop.uri
    }
  }

  depends_on = [google_cloud_run_v2_service_iam_member.trigger_invokes]
}

# ---- either way

locals {
  upload_subscription = basename(coalesce(local.eventarc_subscription, one(google_pubsub_subscription.uploads[*].id)))
}

data "google_pubsub_subscription" "uploads" { # read once the step above has run
  name = basename(coalesce(one(terraform_data.eventarc_subscription[*].output), one(google_pubsub_subscription.uploads[*].id)))
}

check "upload_subscription" {
  assert {
    condition     = data.google_pubsub_subscription.uploads.ack_deadline_seconds == local.ack_deadline_s
    error_message = "The upload subscription's ack deadline is not 600 s: uploads are worked on twice. Run `terraform apply -replace='terraform_data.eventarc_subscription[0]'`."
  }

  assert {
    condition     = length(data.google_pubsub_subscription.uploads.dead_letter_policy) == 1
    error_message = "The upload subscription has no dead-letter topic: what cannot be delivered vanishes silently. Run `terraform apply -replace='terraform_data.eventarc_subscription[0]'`."
  }
}
