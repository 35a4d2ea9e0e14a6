# The service: one container with one GPU per instance, reachable by Eventarc and Pub/Sub only.
#
# It is a Cloud Run service that runs functions-framework, and not a google_cloudfunctions2_function: that API has no field
# for a GPU, and its buildpack starts the framework's own command line, which forks after the import and so breaks CUDA.

locals {
  gpu_regions = { # as of July 2026; more_gpu_regions adds to them
    nvidia-l4           = ["us-central1", "us-east4", "europe-west1", "europe-west4", "asia-southeast1"]
    nvidia-rtx-pro-6000 = ["us-central1", "europe-west4", "asia-southeast1"]
  }

  # Measured with `python -m tests.benchmarks.memory`: an upload adds 10.3 bytes per pixel (JPEG of 48 megapixels);
  # 16 leave room for 16 bits per channel. The file itself is held beside it. The process, CUDA and the largest
  # checkpoint, which is read in single precision once, take the rest.
  bytes_per_pixel   = 16
  process_gib       = 4
  bytes_per_upload  = local.bytes_per_pixel * tonumber(local.all_settings.MAX_PIXELS) + tonumber(local.all_settings.MAX_UPLOAD_BYTES)
  memory_needed_gib = local.process_gib + var.concurrency * local.bytes_per_upload / 1073741824

  # The defaults of function/settings.py, spelled out to be read, and overridden by var.settings, in one place
  # (tests/test_infra.py compares both). What they mean and which values they take is in the README.
  setting_defaults = {
    UPLOAD_PREFIX = ""
    OUTPUT_PREFIX = ""
    LOG_LEVEL     = "info"

    # how much at once, how long
    MAX_UPLOAD_BYTES  = "104857600"
    MAX_PIXELS        = "50000000"
    DECODE_PROCESSES  = ""
    DECODE_TIMEOUT_S  = "20"
    MAX_BATCH         = "4"
    MAX_BATCH_WAIT_MS = "10"
    MAX_QUEUE         = "16"
    REQUEST_BUDGET_S  = "300"
    ESRGAN_MAX_SIDE   = "3000"

    # the network
    DTYPE         = "auto"
    BIREFNET_SIZE = ""
    PATCH_ORDER   = "auto"

    # the cutout; each upload may choose for itself
    MASK_PRESET       = "auto"
    MASK_THRESHOLD    = "0.6"
    MASK_CONTRAST     = "4.0"
    MASK_KERNEL       = "5"
    MASK_HARD_FLOOR   = "0.25"
    ALPHA_MATTING     = "guided"
    REFINE_FOREGROUND = "true"
    DENOISE           = "off"
    ESRGAN_STAGE      = "off"
    ESRGAN_SCALE      = "2"
    OUTPUT_FORMAT     = "png"
    CHANNELS          = "rgba"
    BG_COLOR          = ""
    CROP              = "false"
    CROP_MARGIN       = "0px 0px 0px 0px"
    SIZE              = "0x0"
    SCALE             = "0.0"
    POSITION          = "original"
    EXISTING_ALPHA    = "multiply"
    OUTPUTS           = ""
    REVIEW_BELOW      = "0.5"
    HTTP_CUT          = "false"
  }

  # What the cloud decides. Which weights run is the image's own affair (Dockerfile): rolling back the image rolls them back.
  fixed_settings = {
    GOOGLE_CLOUD_PROJECT = var.project
    UPLOAD_BUCKETS       = google_storage_bucket.images["upload"].name
    OUTPUT_BUCKET        = google_storage_bucket.images["output"].name
    COMPLETION_TOPIC     = google_pubsub_topic.completion.id
    CONCURRENCY          = tostring(var.concurrency)
    DEVICE               = "cuda"
    REQUIRE_GPU          = "true" # rather no instance than one that computes on the CPU for minutes
  }

  # The service takes an empty setting for an absent one; Cloud Run is not asked to keep it.
  all_settings    = merge(local.setting_defaults, var.settings)
  chosen_settings = { for name, value in local.all_settings : name => value if value != "" }
  environment     = merge(local.chosen_settings, local.fixed_settings)
}

resource "google_cloud_run_v2_service" "cutdrop" {
  name                = var.name
  location            = var.region
  ingress             = "INGRESS_TRAFFIC_INTERNAL_ONLY" # Eventarc and Pub/Sub of this project count as internal
  deletion_protection = var.deletion_protection
  labels              = var.labels

  template {
    service_account                  = google_service_account.account["runtime"].email
    timeout                          = "${var.request_timeout_s}s"
    max_instance_request_concurrency = var.concurrency
    execution_environment            = "EXECUTION_ENVIRONMENT_GEN2"
    encryption_key                   = local.kms_key
    gpu_zonal_redundancy_disabled    = !var.zonal_redundancy

    node_selector {
      accelerator = var.gpu
    }

    scaling {
      min_instance_count = var.min_instances
      max_instance_count = var.max_instances
    }

    containers {
      image = local.image

      ports {
        container_port = 8080
      }

      resources {
        limits = {
          cpu              = tostring(var.cpu)
          memory           = "${var.memory_gib}Gi"
          "nvidia.com/gpu" = "1"
        }
        cpu_idle          = false # a GPU is billed by instance, so its CPUs stay on between requests
        startup_cpu_boost = true
      }

      # HTTP, not TCP: the port is open before the weights are on the GPU. Cloud Run grants the probe 240 s, and before it
      # an initial delay of up to 240 s; a cold start of about 25 s needs no delay, and an instance that is ready is asked at once.
      # No liveness probe: it would say nothing about the GPU, and its late answers under load would kill healthy instances.
      startup_probe {
        initial_delay_seconds = 0
        period_seconds        = 10
        failure_threshold     = 24
        timeout_seconds       = 5
        http_get {
          path = "/startup"
          port = 8080
        }
      }

      dynamic "env" {
        for_each = local.environment
        content {
          name  = env.key
          value = env.value
        }
      }
    }
  }

  traffic {
    type     = var.pinned_revision == "" ? "TRAFFIC_TARGET_ALLOCATION_TYPE_LATEST" : "TRAFFIC_TARGET_ALLOCATION_TYPE_REVISION"
    revision = var.pinned_revision == "" ? null : var.pinned_revision
    percent  = 100
  }

  lifecycle {
    precondition {
      condition     = tonumber(lookup(local.chosen_settings, "REQUEST_BUDGET_S", local.setting_defaults.REQUEST_BUDGET_S)) < var.request_timeout_s
      error_message = "REQUEST_BUDGET_S must be below request_timeout_s: the server gives work back before Cloud Run cuts it off."
    }
    precondition {
      condition     = local.memory_needed_gib <= var.memory_gib
      error_message = "concurrency uploads of MAX_PIXELS and MAX_UPLOAD_BYTES need ${ceil(local.memory_needed_gib)} GiB: lower one of them, or raise memory_gib."
    }
    precondition {
      condition     = lookup(local.chosen_settings, "ALPHA_MATTING", "") != "vitmatte" || var.vitmatte_model != ""
      error_message = "ALPHA_MATTING = vitmatte needs vitmatte_model: without it the network is not in the image and no instance would start."
    }
    precondition {
      condition     = contains(["", replace(local.all_settings.DTYPE, "auto", "float16")], var.weights_dtype)
      error_message = "DTYPE needs weights that the image does not hold: set weights_dtype to the same, or to empty."
    }
  }

  # The first instance must find its rights in place.
  depends_on = [
    google_project_service.api,
    google_kms_crypto_key_iam_member.agent,
    google_pubsub_topic_iam_member.announces,
    google_storage_bucket_iam_member.reads_uploads,
    google_storage_bucket_iam_member.writes_results,
  ]
}
