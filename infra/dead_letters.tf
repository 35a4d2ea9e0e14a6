# What becomes of an upload that could not be delivered: one last try, and only then `gave_up`.
#
#   uploads -- max_delivery_attempts --> dead letters -- last_try_attempts --> given up --> finisher: its outcome or gave_up
#
# The last try is a push to the GPU service with retries of its own: the instances may have been broken all the time
# before. The end is a second, small service on the CPU: `gave_up` must be announced although no GPU instance can start,
# and a push with retries alone would end in silence. `python -m tests.benchmarks.scale` prints the hours of both stages.

resource "google_pubsub_topic" "dead_letter" {
  name         = "${var.name}-dead-letter"
  kms_key_name = local.kms_key
  labels       = var.labels
  depends_on   = [google_project_service.api, google_kms_crypto_key_iam_member.agent]
}

resource "google_pubsub_subscription" "last_try" {
  name                       = "${var.name}-last-try"
  topic                      = google_pubsub_topic.dead_letter.id
  ack_deadline_seconds       = local.ack_deadline_s
  message_retention_duration = local.retention
  labels                     = var.labels

  expiration_policy {
    ttl = "" # never: it is idle for months when all is well, and is needed on the day it is not
  }

  retry_policy {
    minimum_backoff = local.maximum_backoff # the uploads before have had the quick retries
    maximum_backoff = local.maximum_backoff
  }

  dead_letter_policy {
    dead_letter_topic     = google_pubsub_topic.given_up.id
    max_delivery_attempts = var.last_try_attempts
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

resource "google_pubsub_topic" "given_up" {
  name         = "${var.name}-given-up"
  kms_key_name = local.kms_key
  labels       = var.labels
  depends_on   = [google_project_service.api, google_kms_crypto_key_iam_member.agent]
}

# No dead-letter topic of its own: the finisher answers until it has announced the outcome, a month if need be.
resource "google_pubsub_subscription" "given_up" {
  name                       = "${var.name}-given-up"
  topic                      = google_pubsub_topic.given_up.id
  ack_deadline_seconds       = local.ack_deadline_s
  message_retention_duration = local.longest_retention
  labels                     = var.labels

  expiration_policy {
    ttl = ""
  }

  retry_policy {
    minimum_backoff = local.minimum_backoff
    maximum_backoff = local.maximum_backoff
  }

  push_config {
    push_endpoint = "${google_cloud_run_v2_service.finisher.uri}/dead-letter"
    oidc_token {
      service_account_email = google_service_account.account["trigger"].email
      audience              = google_cloud_run_v2_service.finisher.uri
    }
  }

  depends_on = [google_cloud_run_v2_service_iam_member.trigger_invokes_finisher]
}

locals {
  finisher_cpu        = 1
  finisher_memory_gib = 2
}

# The same image and settings without a network: no GPU, no weights in memory, nothing billed while nothing is given up.
resource "google_cloud_run_v2_service" "finisher" {
  name                = "${var.name}-finisher"
  location            = var.region
  ingress             = "INGRESS_TRAFFIC_INTERNAL_ONLY"
  deletion_protection = var.deletion_protection
  labels              = var.labels

  template {
    service_account                  = google_service_account.account["finisher"].email
    timeout                          = "60s"
    max_instance_request_concurrency = 8
    execution_environment            = "EXECUTION_ENVIRONMENT_GEN2"
    encryption_key                   = local.kms_key

    scaling {
      min_instance_count = 0
      max_instance_count = 1
    }

    containers {
      image   = local.image
      command = ["gunicorn", "-c", "function/finisher.py"]

      ports {
        container_port = 8080
      }

      resources {
        limits = {
          cpu    = tostring(local.finisher_cpu)
          memory = "${local.finisher_memory_gib}Gi"
        }
        cpu_idle          = true
        startup_cpu_boost = true
      }

      startup_probe {
        period_seconds    = 10
        failure_threshold = 12
        timeout_seconds   = 5
        http_get {
          path = "/startup"
          port = 8080
        }
      }

      dynamic "env" {
        for_each = merge(local.environment, { CONCURRENCY = "8", DEVICE = "cpu", REQUIRE_GPU = "false" })
        content {
          name  = env.key
          value = env.value
        }
      }
    }
  }

  depends_on = [
    google_project_service.api,
    google_kms_crypto_key_iam_member.agent,
    google_pubsub_topic_iam_member.announces,
    google_storage_bucket_iam_member.finisher_reads_results,
    google_storage_bucket_iam_member.reads_uploads,
  ]
}
