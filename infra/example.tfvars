# cp infra/example.tfvars infra/terraform.tfvars, then edit: Terraform and `make deploy` read it. All of it is optional:
# the project is gcloud's own unless it is named here, and `make deploy` sets image_tag and project_number by itself.

project = "my-project"
region  = "us-central1"

# A new project's quotas fit one instance and one beside it (a new revision, or the backfill):
#   (max_instances + backfill_parallelism) * memory_gib + 2 <= memory_quota_gib, the same with cpu + 1, and gpu_quota
# max_instances    = 4
# gpu_quota        = 5
# memory_quota_gib = 96
# cpu_quota        = 48

# settings       = { OUTPUT_FORMAT = "webp", MAX_PIXELS = "50000000" }
# vitmatte_model = "hustvl/vitmatte-small-composition-1k" # with ALPHA_MATTING = "vitmatte" in settings

# uploaders    = ["group:shop@example.com"]
# readers      = ["group:shop@example.com"]
# subscribers  = ["serviceAccount:shop@my-project.iam.gserviceaccount.com"]
# alert_emails = ["oncall@example.com"]

# webhook_urls    = { shop = "https://shop.example.com/cutouts" }
# outcomes_table  = "cutdrop.outcomes"
# billing_account = "012345-6789AB-CDEF01"
# monthly_budget  = 200
