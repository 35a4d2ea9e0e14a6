# ---- where, and under which name

variable "project" {
  description = "Id of the Google Cloud project that everything is created in."
  type        = string
  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{4,28}[a-z0-9]$", var.project))
    error_message = "project must be a project id (6 to 30 lower-case letters, digits, hyphens), not its name or number."
  }
}

variable "project_number" {
  description = "Number of the same project: `gcloud projects describe PROJECT --format 'value(projectNumber)'`. make deploy sets it."
  type        = string
  validation {
    condition     = can(regex("^[0-9]{6,14}$", var.project_number))
    error_message = "project_number must be the project's number, not its id."
  }
}

variable "region" {
  description = "Region of the service. It must have the GPU: see local.gpu_regions."
  type        = string
  default     = "us-central1"
  validation {
    condition     = contains(concat(local.gpu_regions[var.gpu], var.more_gpu_regions), var.region)
    error_message = "Cloud Run does not have this gpu in this region, as far as local.gpu_regions knows. If Google has added it since: more_gpu_regions."
  }
}

variable "more_gpu_regions" {
  description = "Regions that have the GPU and are not in local.gpu_regions yet."
  type        = list(string)
  default     = []
  validation {
    condition     = alltrue([for region in var.more_gpu_regions : can(regex("^[a-z]+-[a-z]+[0-9]$", region))])
    error_message = "more_gpu_regions must hold regions such as europe-west4: GPUs are not offered in multi-regions."
  }
}

variable "bucket_location" {
  description = "Location of both buckets: a region, or a multi-region such as EU. Empty = the service's region."
  type        = string
  default     = ""
  validation {
    condition     = can(regex("^([A-Za-z0-9-]{2,25})?$", var.bucket_location))
    error_message = "bucket_location must be a Cloud Storage location such as EU or europe-west4."
  }
}

variable "name" {
  description = "Prefix of every resource's name, so that two installations fit into one project."
  type        = string
  default     = "cutdrop"
  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,18}[a-z0-9]$", var.name))
    error_message = "name must be 3 to 20 lower-case letters, digits or hyphens (service account ids end at 30)."
  }
}

variable "labels" {
  description = "Labels of every resource that takes labels, for cost reports."
  type        = map(string)
  default     = {}
  validation {
    condition     = alltrue([for key, value in var.labels : can(regex("^[a-z][a-z0-9_-]{0,62}$", key))])
    error_message = "label keys are lower-case letters, digits, hyphens and underscores, at most 63."
  }
}

# ---- which code runs

variable "image_tag" {
  description = "Tag or digest (sha256:...) of the image to run. Rolling back is setting the earlier one."
  type        = string
  validation {
    condition     = can(regex("^(sha256:[0-9a-f]{64}|[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})$", var.image_tag)) && var.image_tag != "latest"
    error_message = "image_tag must be a tag or sha256:DIGEST, and not latest: Terraform could not see that it changed."
  }
}

variable "pinned_revision" {
  description = "Revision that gets all traffic, whatever image_tag says; empty = the newest. The fastest way back."
  type        = string
  default     = ""
  validation {
    condition     = can(regex("^([a-z][a-z0-9-]{0,62})?$", var.pinned_revision))
    error_message = "pinned_revision must be a revision name as `gcloud run revisions list` prints it."
  }
}

variable "settings" {
  description = "Settings of the service that differ from local.setting_defaults, as in the README: {OUTPUT_FORMAT = \"webp\"}."
  type        = map(string)
  default     = {}
  validation {
    condition     = alltrue([for key in keys(var.settings) : contains(keys(local.setting_defaults), key)])
    error_message = "settings holds a name that is not in local.setting_defaults (those set elsewhere have a variable of their own)."
  }
}

# ---- what the image carries; `make deploy` passes it to the build, and builds again when it changes

variable "torch_index" {
  description = "PyTorch's package index, without the CUDA version, which the build appends. A mirror of your own fits here."
  type        = string
  default     = "https://download.pytorch.org/whl"
  validation {
    condition     = can(regex("^https?://[^\\s]+$", var.torch_index))
    error_message = "torch_index must be an http(s) address."
  }
}

variable "cuda" {
  description = "CUDA version of PyTorch's wheels, not newer than the GPU's driver: cu126 for the L4's 535, cu130 for the RTX PRO 6000's 580."
  type        = string
  default     = "cu126"
  validation {
    condition     = can(regex("^cu[0-9]{3}$", var.cuda)) && (var.gpu == "nvidia-l4" || var.cuda != "cu126")
    error_message = "cuda must be such as cu126; the RTX PRO 6000 needs cu130 or newer."
  }
}

variable "model" {
  description = "BiRefNet checkpoint in the image: embedded (demo) or a Hugging Face id."
  type        = string
  default     = "ZhengPeng7/BiRefNet-portrait"
  validation {
    condition     = var.model == "embedded" || can(regex("^[\\w.-]+/[\\w.-]+$", var.model))
    error_message = "model must be embedded or a Hugging Face id: OWNER/NAME."
  }
}

variable "model_revision" {
  description = "Commit of that Hugging Face repository. Empty = the pinned one of a known checkpoint."
  type        = string
  default     = ""
  validation {
    condition     = can(regex("^([0-9a-f]{40})?$", var.model_revision))
    error_message = "model_revision must be a commit of 40 hexadecimal digits."
  }
}

variable "esrgan_model" {
  description = "Real-ESRGAN checkpoint in the image."
  type        = string
  default     = "RealESRGAN_x2plus.pth"
  validation {
    condition     = contains(["RealESRGAN_x2plus.pth", "RealESRGAN_x4plus.pth", "realesr-general-x4v3.pth"], var.esrgan_model)
    error_message = "esrgan_model must be one of the three published checkpoints, as in shared/models/realesrgan.py."
  }
}

variable "vitmatte_model" {
  description = "ViTMatte checkpoint in the image, which ALPHA_MATTING = \"vitmatte\" needs. Empty = none."
  type        = string
  default     = ""
  validation {
    condition     = can(regex("^([\\w.-]+/[\\w.-]+)?$", var.vitmatte_model))
    error_message = "vitmatte_model must be a Hugging Face id: OWNER/NAME. hustvl/vitmatte-small-composition-1k has a known sha256."
  }
}

variable "vitmatte_revision" {
  description = "Commit of that Hugging Face repository. Empty = the pinned one of hustvl/vitmatte-small-composition-1k, whose sha256 is checked."
  type        = string
  default     = ""
  validation {
    condition     = can(regex("^([0-9a-f]{40})?$", var.vitmatte_revision))
    error_message = "vitmatte_revision must be a commit of 40 hexadecimal digits."
  }
}

variable "weights_dtype" {
  description = "Numbers of the weights in the image: float16 halves their size and the time to read them; bfloat16; empty = as published. DTYPE must fit."
  type        = string
  default     = "float16"
  validation {
    condition     = contains(["", "float16", "bfloat16"], var.weights_dtype)
    error_message = "weights_dtype must be float16, bfloat16 or empty."
  }
}

# ---- how big

variable "gpu" {
  description = "Accelerator of each instance: nvidia-l4 (24 GB) or nvidia-rtx-pro-6000 (96 GB; needs the cu130 image)."
  type        = string
  default     = "nvidia-l4"
  validation {
    condition     = contains(["nvidia-l4", "nvidia-rtx-pro-6000"], var.gpu)
    error_message = "gpu must be nvidia-l4 or nvidia-rtx-pro-6000."
  }
}

variable "zonal_redundancy" {
  description = "Keep GPUs in reserve in a second zone. Costs more and has a quota of its own; without it, retries bridge a lost zone."
  type        = bool
  default     = false
}

variable "gpu_quota" {
  description = "GPUs that the project may use in the region (quota NvidiaL4GpuAllocNoZonalRedundancyPerProjectRegion). A first deployment is granted 3."
  type        = number
  default     = 3
  validation {
    condition     = var.gpu_quota >= 1 && floor(var.gpu_quota) == var.gpu_quota
    error_message = "gpu_quota must be a whole number from 1."
  }
}

variable "memory_quota_gib" {
  description = "GiB of memory that the project's Cloud Run instances may have in the region (quota MemAllocPerProjectRegion). New projects: 40."
  type        = number
  default     = 40
  validation {
    condition     = var.memory_quota_gib >= local.finisher_memory_gib + var.memory_gib
    error_message = "memory_quota_gib is less than one instance needs."
  }
}

variable "cpu_quota" {
  description = "vCPUs that the project's Cloud Run instances may have in the region (quota CpuAllocPerProjectRegion). New projects: 20."
  type        = number
  default     = 20
  validation {
    condition     = var.cpu_quota >= local.finisher_cpu + var.cpu
    error_message = "cpu_quota is less than one instance needs."
  }
}

variable "cpu" {
  description = "vCPUs of each instance. Decoding and encoding run on them beside the GPU, and the autoscaler watches them."
  type        = number
  default     = 8
  validation {
    condition     = var.gpu == "nvidia-l4" ? contains([4, 6, 8], var.cpu) : var.cpu >= 20 && var.cpu <= 30
    error_message = "cpu must be 4, 6 or 8 beside an L4, 20 to 30 beside an RTX PRO 6000."
  }
}

variable "memory_gib" {
  description = "Memory of each instance in GiB; files in /tmp count. local.memory_needed_gib says what concurrency and MAX_PIXELS take."
  type        = number
  default     = 16
  validation {
    condition     = var.gpu == "nvidia-l4" ? var.memory_gib >= 16 && var.memory_gib <= 32 : var.memory_gib >= 80
    error_message = "memory_gib must be 16 to 32 beside an L4, at least 80 beside an RTX PRO 6000."
  }
}

variable "concurrency" {
  description = "Uploads in work at once on one instance: threads of the server, and where Cloud Run starts the next instance."
  type        = number
  default     = 12
  validation {
    condition     = var.concurrency >= 1 && var.concurrency <= 64 && floor(var.concurrency) == var.concurrency
    error_message = "concurrency must be a whole number from 1 to 64."
  }
}

variable "min_instances" {
  description = "Instances kept warm. 0 costs nothing while idle; 1 saves the first upload its cold start and bills a GPU day and night."
  type        = number
  default     = 0
  validation {
    condition     = var.min_instances >= 0 && var.min_instances <= var.max_instances
    error_message = "min_instances must be from 0 to max_instances."
  }
}

variable "max_instances" {
  description = "Most instances of the service, and so the most that it can cost. A new revision's first instance, or the backfill, starts beside them."
  type        = number
  default     = 1
  validation {
    condition     = var.max_instances >= 1 && var.max_instances + var.backfill_parallelism <= var.gpu_quota
    error_message = "max_instances must be from 1, and max_instances + backfill_parallelism <= gpu_quota: they share the quota, and an instance without GPU does not start."
  }
  validation {
    condition     = (var.max_instances + var.backfill_parallelism) * var.memory_gib + local.finisher_memory_gib <= var.memory_quota_gib
    error_message = "(max_instances + backfill_parallelism) * memory_gib, and 2 GiB for the finisher, must fit into memory_quota_gib (MemAllocPerProjectRegion)."
  }
  validation {
    condition     = (var.max_instances + var.backfill_parallelism) * var.cpu + local.finisher_cpu <= var.cpu_quota
    error_message = "(max_instances + backfill_parallelism) * cpu, and 1 for the finisher, must fit into cpu_quota (CpuAllocPerProjectRegion)."
  }
}

variable "request_timeout_s" {
  description = "Seconds that one upload may take. Below the ack deadline of 600, or Pub/Sub delivers it a second time meanwhile."
  type        = number
  default     = 540
  validation {
    condition     = var.request_timeout_s >= 60 && var.request_timeout_s < local.ack_deadline_s
    error_message = "request_timeout_s must be from 60 and below the ack deadline of 600."
  }
}

# ---- how events arrive

variable "transport" {
  description = "eventarc (a trigger and its managed subscription) or notification (own topic and subscription, no gcloud needed)."
  type        = string
  default     = "eventarc"
  validation {
    condition     = contains(["eventarc", "notification"], var.transport)
    error_message = "transport must be eventarc or notification."
  }
}

variable "max_delivery_attempts" {
  description = "Deliveries before an upload is dead-lettered: 100 are 15.6 hours. Refusals of a full service (429) count too: keep it high."
  type        = number
  default     = 100
  validation {
    condition     = var.max_delivery_attempts >= 5 && var.max_delivery_attempts <= 100
    error_message = "max_delivery_attempts must be 5 to 100, which is what Pub/Sub takes."
  }
}

variable "last_try_attempts" {
  description = "Deliveries of a dead letter, one every 10 minutes, before the upload is given up: 100 are 16.5 hours more."
  type        = number
  default     = 100
  validation {
    condition     = var.last_try_attempts >= 5 && var.last_try_attempts <= 100
    error_message = "last_try_attempts must be 5 to 100, which is what Pub/Sub takes."
  }
}

# ---- who may use it

variable "uploaders" {
  description = "Who may upload: members such as user:a@example.com, group:shop@example.com, serviceAccount:..."
  type        = list(string)
  default     = []
  validation {
    condition     = alltrue([for member in var.uploaders : can(regex(local.member, member))])
    error_message = "uploaders must hold user:, group:, serviceAccount:, domain: or principalSet: members; nobody is public."
  }
}

variable "readers" {
  description = "Who may read the results. Members as in uploaders."
  type        = list(string)
  default     = []
  validation {
    condition     = alltrue([for member in var.readers : can(regex(local.member, member))])
    error_message = "readers must hold user:, group:, serviceAccount:, domain: or principalSet: members; nobody is public."
  }
}

variable "subscribers" {
  description = "Who may subscribe to the outcomes. Members as in uploaders."
  type        = list(string)
  default     = []
  validation {
    condition     = alltrue([for member in var.subscribers : can(regex(local.member, member))])
    error_message = "subscribers must hold user:, group:, serviceAccount:, domain: or principalSet: members; nobody is public."
  }
}

# ---- where outcomes go

variable "webhook_urls" {
  description = "Addresses that every outcome is posted to, by a name for each: {shop = \"https://shop.example.com/cutouts\"}. Signed with OIDC, retried, dead-lettered."
  type        = map(string)
  default     = {}
  validation {
    condition     = alltrue([for name, url in var.webhook_urls : can(regex("^[a-z][a-z0-9-]{0,29}$", name)) && startswith(url, "https://")])
    error_message = "webhook_urls must map short lower-case names to https:// addresses."
  }
}

variable "outcomes_table" {
  description = "BigQuery table that gets a row for every outcome: DATASET.TABLE; both are made. Empty = none."
  type        = string
  default     = ""
  validation {
    condition     = can(regex("^(\\w{1,1024}\\.\\w{1,1024})?$", var.outcomes_table))
    error_message = "outcomes_table must be DATASET.TABLE, in letters, digits and underscores."
  }
}

variable "example_subscriptions" {
  description = "Make two pull subscriptions to try things with, one per status. They vanish after 31 days without a reader."
  type        = bool
  default     = false
}

# ---- how long things are kept, and how safely

variable "delete_uploads_after_days" {
  description = "Age at which uploads are deleted; 0 = never."
  type        = number
  default     = 0
  validation {
    condition     = var.delete_uploads_after_days == 0 || var.delete_uploads_after_days >= 7
    error_message = "delete_uploads_after_days must be 0 or at least 7: events are retried for 7 days and need their upload."
  }
}

variable "delete_results_after_days" {
  description = "Age at which results are deleted; 0 = never."
  type        = number
  default     = 0
  validation {
    condition     = var.delete_results_after_days == 0 || var.delete_results_after_days >= 7
    error_message = "delete_results_after_days must be 0 or at least 7: a repeated event would make a deleted result again."
  }
}

variable "kms_key" {
  description = "Key for buckets, topics, service, job and images: projects/P/locations/L/keyRings/R/cryptoKeys/K. Empty = Google's keys."
  type        = string
  default     = ""
  validation {
    condition     = can(regex("^(projects/[^/]+/locations/[^/]+/keyRings/[^/]+/cryptoKeys/[^/]+)?$", var.kms_key))
    error_message = "kms_key must be the full name of a key, in the location of the service and the buckets."
  }
}

variable "deletion_protection" {
  description = "Refuse to destroy the service, the job and buckets that hold objects."
  type        = bool
  default     = true
}

# ---- who is told

variable "notification_channels" {
  description = "Monitoring channels that alerts go to: projects/P/notificationChannels/N. Empty = alerts are only listed."
  type        = list(string)
  default     = []
  validation {
    condition     = alltrue([for channel in var.notification_channels : can(regex("^projects/[^/]+/notificationChannels/[^/]+$", channel))])
    error_message = "notification_channels must hold full names: projects/P/notificationChannels/N."
  }
}

variable "alert_emails" {
  description = "Addresses that alerts are mailed to. Each is a channel beside notification_channels."
  type        = list(string)
  default     = []
  validation {
    condition     = alltrue([for email in var.alert_emails : can(regex("^[^@\\s]+@[^@\\s]+$", email))])
    error_message = "alert_emails must hold e-mail addresses."
  }
}

variable "alert_retry_rate" {
  description = "Deliveries a minute, over 15 minutes, that are handed back for later and raise an alert."
  type        = number
  default     = 30
  validation {
    condition     = var.alert_retry_rate > 0
    error_message = "alert_retry_rate must be positive."
  }
}

variable "billing_account" {
  description = "Billing account of the project, for the budget: 012345-6789AB-CDEF01. Needs the right to make budgets there. Empty = no budget."
  type        = string
  default     = ""
  validation {
    condition     = can(regex("^([0-9A-F]{6}-[0-9A-F]{6}-[0-9A-F]{6})?$", var.billing_account))
    error_message = "billing_account must be three groups of six hexadecimal digits."
  }
}

variable "monthly_budget" {
  description = "Cost of the project in a month, in the billing account's currency, that alerts at half, at nine tenths and when reached. A budget stops nothing: max_instances does."
  type        = number
  default     = 200
  validation {
    condition     = var.monthly_budget >= 1 && floor(var.monthly_budget) == var.monthly_budget
    error_message = "monthly_budget must be a whole number from 1."
  }
}

variable "alert_backlog_s" {
  description = "Age in seconds of the oldest waiting upload that raises an alert."
  type        = number
  default     = 1800
  validation {
    condition     = var.alert_backlog_s > 0
    error_message = "alert_backlog_s must be positive."
  }
}

variable "alert_failure_ratio" {
  description = "Fraction of uploads, over 30 minutes, that end in a failure of the service's own, not of the uploaded file, and raise an alert."
  type        = number
  default     = 0.05
  validation {
    condition     = var.alert_failure_ratio > 0 && var.alert_failure_ratio < 1
    error_message = "alert_failure_ratio must be between 0 and 1."
  }
}

variable "alert_p95_ms" {
  description = "95th percentile of the time from the start of work to the published message, in milliseconds, that raises an alert."
  type        = number
  default     = 20000
  validation {
    condition     = var.alert_p95_ms > 0
    error_message = "alert_p95_ms must be positive."
  }
}

# ---- the backfill job

variable "backfill_bucket" {
  description = "Bucket that the backfill job lists. Empty = the upload bucket."
  type        = string
  default     = ""
  validation {
    condition     = can(regex("^([a-z0-9][a-z0-9._-]{1,220}[a-z0-9])?$", var.backfill_bucket))
    error_message = "backfill_bucket must be a bucket's name, without gs://."
  }
}

variable "backfill_tasks" {
  description = "Shards of a backfill. A GPU task may run an hour: take enough that each shard is done in a few."
  type        = number
  default     = 16
  validation {
    condition     = var.backfill_tasks >= 1 && var.backfill_tasks <= 10000
    error_message = "backfill_tasks must be 1 to 10000."
  }
}

variable "backfill_parallelism" {
  description = "Shards in work at once, one GPU each, out of the same gpu_quota as the service."
  type        = number
  default     = 1
  validation {
    condition     = var.backfill_parallelism >= 1 && var.backfill_parallelism <= var.gpu_quota
    error_message = "backfill_parallelism must be from 1 to gpu_quota."
  }
}

variable "backfill_retries" {
  description = "Restarts of a shard that ran into the hour's limit or was killed; it goes on where its checkpoint says."
  type        = number
  default     = 10
  validation {
    condition     = var.backfill_retries >= 0 && var.backfill_retries <= 10
    error_message = "backfill_retries must be 0 to 10."
  }
}
