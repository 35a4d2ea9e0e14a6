# Where images are built and kept.

resource "google_artifact_registry_repository" "images" {
  repository_id = var.name
  location      = var.region
  format        = "DOCKER"
  description   = "Cutdrop's server image"
  kms_key_name  = local.kms_key
  labels        = var.labels

  vulnerability_scanning_config {
    enablement_config = "INHERITED" # on, because containerscanning.googleapis.com is
  }

  docker_config {
    immutable_tags = true # a tag means one image for ever, so image_tag is enough to roll back
  }

  cleanup_policies {
    id     = "keep-the-last-ten"
    action = "KEEP"
    most_recent_versions {
      keep_count = 10
    }
  }

  cleanup_policies {
    id     = "delete-after-90-days"
    action = "DELETE"
    condition {
      older_than = "7776000s"
    }
  }

  depends_on = [google_project_service.api, google_kms_crypto_key_iam_member.agent]
}

# `gcloud builds submit` leaves the source here. Its own bucket, so that the build account needs no right on any other.
resource "google_storage_bucket" "build_source" {
  # checkov:skip=CKV_GCP_62: access is in Cloud Audit Logs, which need no bucket of their own
  # checkov:skip=CKV_GCP_78: every build has its own object
  name                        = "${var.project}-${var.name}-build"
  location                    = var.region
  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"
  force_destroy               = true
  labels                      = var.labels

  dynamic "encryption" {
    for_each = local.kms_key[*]
    content {
      default_kms_key_name = encryption.value
    }
  }

  lifecycle_rule {
    action {
      type = "Delete"
    }
    condition {
      age = 7
    }
  }

  depends_on = [google_project_service.api, google_kms_crypto_key_iam_member.agent]
}

# What must be there before the first image can be built: `terraform apply -target=terraform_data.build_ready`.
resource "terraform_data" "build_ready" {
  input = local.image_repository

  depends_on = [
    google_artifact_registry_repository_iam_member.build_writes_images,
    google_project_iam_member.build_writes_logs,
    google_storage_bucket_iam_member.build_reads_source,
  ]
}

locals {
  image_repository = "${var.region}-docker.pkg.dev/${var.project}/${google_artifact_registry_repository.images.repository_id}/server"
  image            = "${local.image_repository}${startswith(var.image_tag, "sha256:") ? "@" : ":"}${var.image_tag}"
}
