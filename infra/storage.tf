# Two buckets: results never land where uploads are announced, so no result can set off its own event.

locals {
  bucket_location = upper(coalesce(var.bucket_location, var.region))

  buckets = {
    upload = { name = "${var.project}-${var.name}-uploads", delete_after_days = var.delete_uploads_after_days }
    output = { name = "${var.project}-${var.name}-results", delete_after_days = var.delete_results_after_days }
  }
}

resource "google_storage_bucket" "images" {
  # checkov:skip=CKV_GCP_62: access is in Cloud Audit Logs, which need no bucket of their own
  # checkov:skip=CKV_GCP_78: soft delete keeps what was overwritten; versions would keep superseded uploads readable and billed
  for_each = local.buckets

  name                        = each.value.name
  location                    = local.bucket_location
  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"
  force_destroy               = !var.deletion_protection
  labels                      = var.labels

  soft_delete_policy {
    retention_duration_seconds = 604800 # 7 days to take back a wrong delete, as long as events are retried
  }

  dynamic "encryption" {
    for_each = local.kms_key[*]
    content {
      default_kms_key_name = encryption.value
    }
  }

  lifecycle_rule {
    action {
      type = "AbortIncompleteMultipartUpload"
    }
    condition {
      age = 1
    }
  }

  dynamic "lifecycle_rule" {
    for_each = each.value.delete_after_days > 0 ? [each.value.delete_after_days] : []
    content {
      action {
        type = "Delete"
      }
      condition {
        age = lifecycle_rule.value
      }
    }
  }

  depends_on = [google_project_service.api, google_kms_crypto_key_iam_member.agent]
}
