# Failures go through the service again when their cause is mended: `gcloud run jobs execute` (see infra/README.md).

# Every failure of the last 31 days, also those that were replayed before: the job rewinds to the moment it is asked for.
resource "google_pubsub_subscription" "failures" {
  name                       = "${var.name}-failures"
  topic                      = google_pubsub_topic.completion.id
  filter                     = "attributes.status = \"failed\""
  ack_deadline_seconds       = 60
  message_retention_duration = local.longest_retention
  retain_acked_messages      = true
  labels                     = var.labels

  expiration_policy {
    ttl = "" # never: nobody reads it until something went wrong
  }
}

resource "google_pubsub_topic" "replay" {
  name         = "${var.name}-replay"
  kms_key_name = local.kms_key
  labels       = var.labels
  depends_on   = [google_project_service.api, google_kms_crypto_key_iam_member.agent]
}

resource "google_pubsub_subscription" "replay" {
  name                       = "${var.name}-replay"
  topic                      = google_pubsub_topic.replay.id
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

# A small job without a GPU: it only reads failures and sends events; the service does the work.
resource "google_cloud_run_v2_job" "replay" {
  name                = "${var.name}-replay"
  location            = var.region
  deletion_protection = var.deletion_protection
  labels              = var.labels

  template {
    template {
      service_account       = google_service_account.account["replay"].email
      timeout               = "3600s"
      max_retries           = 0 # a second run would send what the first has sent already
      execution_environment = "EXECUTION_ENVIRONMENT_GEN2"
      encryption_key        = local.kms_key

      containers {
        image   = local.image
        command = ["python", "-m", "function.replay"]
        args    = ["--since", "7d", "--code", "gave_up"]

        resources {
          limits = {
            cpu    = "1"
            memory = "1Gi"
          }
        }

        env {
          name  = "REPLAY_FAILURES"
          value = google_pubsub_subscription.failures.id
        }
        env {
          name  = "REPLAY_TOPIC"
          value = google_pubsub_topic.replay.id
        }
        env {
          name  = "GOOGLE_CLOUD_PROJECT"
          value = var.project
        }
      }
    }
  }

  depends_on = [
    google_cloud_run_v2_service.cutdrop,
    google_pubsub_subscription_iam_member.replay_reads_failures,
    google_pubsub_topic_iam_member.replay_sends,
  ]
}
