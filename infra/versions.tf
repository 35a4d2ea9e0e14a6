terraform {
  required_version = ">= 1.9" # validations that look at other variables

  required_providers {
    google = {
      source  = "hashicorp/google"
      version = ">= 7.44, < 8.0" # 7.44 ended endless differences in limits and max_instance_count
    }
  }
}

provider "google" {
  project               = var.project
  region                = var.region
  billing_project       = var.project # requests count against the project itself; the budget API takes no others
  user_project_override = true
}

# `make deploy` has enabled serviceusage and cloudresourcemanager before the first plan: without them Terraform can
# neither enable the rest nor grant a role on the project.

resource "google_project_service" "api" {
  for_each = toset([
    "artifactregistry.googleapis.com",
    "bigquery.googleapis.com",
    "billingbudgets.googleapis.com",
    "cloudbuild.googleapis.com",
    "cloudkms.googleapis.com",
    "cloudresourcemanager.googleapis.com",
    "containerscanning.googleapis.com",
    "eventarc.googleapis.com",
    "iam.googleapis.com",
    "logging.googleapis.com",
    "monitoring.googleapis.com",
    "pubsub.googleapis.com",
    "run.googleapis.com",
    "serviceusage.googleapis.com",
    "storage.googleapis.com",
  ])

  service            = each.key
  disable_on_destroy = false # other things in the project may use them
}
