# ---- where, and under which name

variable "project" {
  description = "Id of the Google Cloud project that everything is created in."
  type        = string
  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{4,28}[a-z0-9]$", var.project))
    error_message = "project must be a project id (6 to 30 lower-case letters, digits, hyphens), not its name or number."
  }
}

variable "region" {
  description = "Region of the service. L4: us-central1, us-east4, europe-west1, europe-west4, asia-southeast1."
  type        = string
  default     = "us-central1"
  validation {
    condition     = can(regex("^[a-z]+-[a-z]+[0-9]$", var.region))
    error_message = "region must be one region, such as europe-west4: GPUs are not offered in multi-regions."
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

variable "gpu_quota" {
  description = "GPUs without zonal redundancy that the project may use in the region. A first deployment is granted 3."
  type        = number
  default     = 3
  validation {
    condition     = var.gpu_quota >= 1 && floor(var.gpu_quota) == var.gpu_quota
    error_message = "gpu_quota must be a whole number from 1."
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
  description = "Memory of each instance in GiB; files in /tmp count. A 48 megapixel upload takes about 1 GiB while it is in work."
  type        = number
  default     = 32
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
  description = "Most instances of the service. With the backfill's tasks they must fit into gpu_quota, and a new revision starts beside the old one."
  type        = number
  default     = 2
  validation {
    condition     = var.max_instances >= 1 && var.max_instances + var.backfill_parallelism <= var.gpu_quota
    error_message = "max_instances must be from 1, and max_instances + backfill_parallelism <= gpu_quota: they share the quota, and an instance without GPU does not start."
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
  description = "Deliveries before an upload is dead-lettered. Refusals of a full service (429) count too: keep it high."
  type        = number
  default     = 50
  validation {
    condition     = var.max_delivery_attempts >= 5 && var.max_delivery_attempts <= 100
    error_message = "max_delivery_attempts must be 5 to 100, which is what Pub/Sub takes."
  }
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
  description = "Share of uploads ending in a failure message, over 30 minutes, that raises an alert."
  type        = number
  default     = 0.2
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
