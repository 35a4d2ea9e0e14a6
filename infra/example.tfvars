# cp infra/example.tfvars infra/terraform.tfvars, then edit: Terraform reads it by itself.

project   = "my-project"
region    = "us-central1"
image_tag = "a1b2c3d" # what the build pushed: git rev-parse --short HEAD

# max_instances + backfill_parallelism <= gpu_quota
gpu_quota            = 3
max_instances        = 2
backfill_parallelism = 1

# settings = { OUTPUT_FORMAT = "webp", MAX_PIXELS = "100000000" }

# notification_channels = ["projects/my-project/notificationChannels/1234567890"]
