# The backfill: the same code over a bucket that was there before. Applying only describes the job;
# `gcloud run jobs execute` starts it (see the outputs).

resource "google_cloud_run_v2_job" "backfill" {
  name                = "${var.name}-backfill"
  location            = var.region
  deletion_protection = var.deletion_protection
  labels              = var.labels

  template {
    task_count  = var.backfill_tasks
    parallelism = var.backfill_parallelism

    template {
      service_account               = google_service_account.account["backfill"].email
      timeout                       = "3600s" # the longest a task with a GPU may run
      max_retries                   = var.backfill_retries
      execution_environment         = "EXECUTION_ENVIRONMENT_GEN2"
      encryption_key                = local.kms_key
      gpu_zonal_redundancy_disabled = !var.zonal_redundancy

      node_selector {
        accelerator = var.gpu
      }

      containers {
        image   = local.image
        command = ["python", "-m", "function.backfill"]
        args    = ["--bucket", local.backfill_bucket]

        resources {
          limits = {
            cpu              = tostring(var.cpu)
            memory           = "${var.memory_gib}Gi"
            "nvidia.com/gpu" = "1"
          }
        }

        dynamic "env" {
          for_each = merge(local.environment, { UPLOAD_BUCKETS = join(",", local.backfill_buckets) })
          content {
            name  = env.key
            value = env.value
          }
        }
      }
    }
  }

  depends_on = [google_cloud_run_v2_service.cutdrop] # the service shows that image and rights work
}

locals {
  backfill_bucket  = coalesce(var.backfill_bucket, google_storage_bucket.images["upload"].name)
  backfill_buckets = distinct([local.backfill_bucket, google_storage_bucket.images["upload"].name]) # what a manifest may name
}
