# What is counted, what is shown, and what wakes somebody. The server writes one JSON line per upload; the metrics read it.

locals {
  log_of_service  = "resource.type=\"cloud_run_revision\" AND resource.labels.service_name=\"${google_cloud_run_v2_service.cutdrop.name}\""
  log_of_services = "resource.type=\"cloud_run_revision\" AND resource.labels.service_name=(\"${google_cloud_run_v2_service.cutdrop.name}\" OR \"${google_cloud_run_v2_service.finisher.name}\")"
  metric_prefix   = replace(var.name, "-", "_") # so that the name is the same in PromQL
}

resource "google_logging_metric" "outcomes" {
  name        = "${local.metric_prefix}_outcomes"
  description = "Deliveries by what became of them: completed, failed (code says why), ignored, retry, crash."
  filter      = "${local.log_of_services} AND jsonPayload.logger=\"cutdrop\" AND jsonPayload.status:*"

  label_extractors = {
    status = "EXTRACT(jsonPayload.status)"
    code   = "EXTRACT(jsonPayload.code)"
  }

  metric_descriptor {
    metric_kind = "DELTA"
    value_type  = "INT64"
    labels {
      key = "status"
    }
    labels {
      key = "code"
    }
  }
}

resource "google_logging_metric" "latency" {
  name            = "${local.metric_prefix}_latency"
  description     = "Milliseconds of one delivery, from the start of work to the published message."
  filter          = "${google_logging_metric.outcomes.filter} AND jsonPayload.status=\"completed\" AND jsonPayload.repeated=false"
  value_extractor = "EXTRACT(jsonPayload.timings_ms.total)"

  metric_descriptor {
    metric_kind = "DELTA"
    value_type  = "DISTRIBUTION"
    unit        = "ms"
  }

  bucket_options {
    exponential_buckets { # 20 ms to 10 minutes in steps of a quarter
      scale              = 20
      growth_factor      = 1.25
      num_finite_buckets = 48
    }
  }
}

resource "google_logging_metric" "gpu_start_failures" {
  name        = "${local.metric_prefix}_gpu_start_failures"
  description = "Instances that did not come up: no GPU, wrong driver or wheel, weights missing, settings refused."
  filter      = "${local.log_of_service} AND (textPayload=~\"^(GpuUnavailable|WeightsError|SettingsError): \" OR textPayload:\"The instance was not started\")"

  metric_descriptor {
    metric_kind = "DELTA"
    value_type  = "INT64"
  }
}

locals {
  # PromQL over Cloud Monitoring: "/" after the domain becomes ":", everything else that is not a letter "_".
  outcomes           = "logging_googleapis_com:user_${google_logging_metric.outcomes.name}"
  latency            = "logging_googleapis_com:user_${google_logging_metric.latency.name}_bucket"
  gpu_start_failures = "logging_googleapis_com:user_${google_logging_metric.gpu_start_failures.name}"
  of_run             = "monitored_resource=\"cloud_run_revision\""
  of_service         = "service_name=\"${google_cloud_run_v2_service.cutdrop.name}\""
  of_uploads         = "subscription_id=\"${local.upload_subscription}\""
  of_last_try        = "subscription_id=\"${google_pubsub_subscription.last_try.name}\""
  of_given_up        = "subscription_id=\"${google_pubsub_subscription.given_up.name}\""
  of_backfill        = "job_name=\"${google_cloud_run_v2_job.backfill.name}\""

  # Failures of the service's own. The other codes are about the uploaded file, and no operator can mend those.
  our_codes = ["gave_up", "network_failed", "output_refused", "source_unreadable"]

  uploads_rate = "sum(rate(${local.outcomes}{${local.of_run},status=~\"completed|failed\"}[30m]))"

  query = {
    dead_letters = "sum(increase(pubsub_googleapis_com:subscription_dead_letter_message_count{${local.of_uploads}}[10m]))"
    backlog_age  = "max(pubsub_googleapis_com:subscription_oldest_unacked_message_age{${local.of_uploads}})"
    given_up     = "sum(increase(pubsub_googleapis_com:subscription_dead_letter_message_count{${local.of_last_try}}[10m]))"
    dead_age     = "max(pubsub_googleapis_com:subscription_oldest_unacked_message_age{${local.of_last_try}})"
    ending_age   = "max(pubsub_googleapis_com:subscription_oldest_unacked_message_age{${local.of_given_up}})"
    failures     = "sum(rate(${local.outcomes}{${local.of_run},status=\"failed\",code=~\"${join("|", local.our_codes)}\"}[30m])) / ${local.uploads_rate}"
    crashes      = "sum(increase(${local.outcomes}{${local.of_run},status=\"crash\"}[15m]))"
    retries      = "60 * sum(rate(${local.outcomes}{${local.of_run},status=\"retry\"}[15m]))"
    unpublished  = "sum(increase(${local.outcomes}{${local.of_run},code=\"publisher_unavailable\"}[15m]))"
    backfill     = "sum(increase(run_googleapis_com:job_completed_task_attempt_count{${local.of_backfill},result=\"failed\"}[1h]))"
    uploads      = "1800 * ${local.uploads_rate}"
    p50          = "histogram_quantile(0.50, sum by (le) (rate(${local.latency}{${local.of_run}}[10m])))"
    p95          = "histogram_quantile(0.95, sum by (le) (rate(${local.latency}{${local.of_run}}[10m])))"
    starts       = "sum(increase(${local.gpu_start_failures}{${local.of_run}}[10m]))"
    by_code      = "sum by (status, code) (rate(${local.outcomes}{${local.of_run}}[5m]))"
    waiting      = "sum(pubsub_googleapis_com:subscription_num_undelivered_messages{${local.of_uploads}})"
    instances    = "sum by (state) (run_googleapis_com:container_instance_count{${local.of_service}})"
    answers      = "sum by (response_code) (rate(run_googleapis_com:request_count{${local.of_service}}[5m]))"
    cpu          = "histogram_quantile(0.95, sum by (le) (rate(run_googleapis_com:container_cpu_utilizations_bucket{${local.of_service}}[5m])))"
    memory       = "histogram_quantile(0.95, sum by (le) (rate(run_googleapis_com:container_memory_utilizations_bucket{${local.of_service}}[5m])))"
  }

  alerts = {
    dead_letters = {
      title    = "uploads are on their last try"
      severity = "ERROR"
      when     = "${local.query.dead_letters} > 0"
      lasting  = "0s"
      advice   = "Delivered ${var.max_delivery_attempts} times without success. They are tried ${var.last_try_attempts} times more, every 10 minutes: mend the cause meanwhile. infra/README.md: 'Dead letters'."
    }
    given_up = {
      title    = "uploads were given up"
      severity = "CRITICAL"
      when     = "${local.query.given_up} > 0"
      lasting  = "0s"
      advice   = "The last try has failed as well; a failure message with code gave_up is published for each. When the cause is mended, send them again: infra/README.md: 'Replay'."
    }
    backlog = {
      title    = "uploads are waiting"
      severity = "WARNING"
      when     = "${local.query.backlog_age} > ${var.alert_backlog_s} or ${local.query.dead_age} > ${var.alert_backlog_s} or ${local.query.ending_age} > ${var.alert_backlog_s}"
      lasting  = "300s"
      advice   = "The oldest upload waits longer than ${var.alert_backlog_s} s. Look at the chart 'Instances' against max_instances and the quotas (infra/README.md: 'Quotas'), then at 'Outcomes per second, by status and code'."
    }
    retries = {
      title    = "uploads are handed back"
      severity = "WARNING"
      when     = "${local.query.retries} > ${var.alert_retry_rate}"
      lasting  = "600s"
      advice   = "More than ${var.alert_retry_rate} deliveries a minute are answered 'later'. The chart 'Outcomes per second, by status and code' says why: busy is load, the others are outages. infra/README.md: 'Read a failure'."
    }
    unpublished = {
      title    = "outcomes cannot be announced"
      severity = "ERROR"
      when     = "${local.query.unpublished} > 0"
      lasting  = "300s"
      advice   = "The completion topic does not take messages (publisher_unavailable): its key, its schema or the right to publish. Results are stored, and announced by a later delivery. infra/README.md: 'Read a failure'."
    }
    crashes = {
      title    = "uploads end in an unexpected error"
      severity = "ERROR"
      when     = "${local.query.crashes} > 0"
      lasting  = "300s"
      advice   = "A fault of the program: the log has its stack_trace. infra/README.md: 'Read a failure'."
    }
    backfill = {
      title    = "backfill tasks fail"
      severity = "WARNING"
      when     = "${local.query.backfill} > 0"
      lasting  = "0s"
      advice   = "A task was killed or ended with an error; it is started again ${var.backfill_retries} times and goes on where it stopped. infra/README.md: 'Backfill'."
    }
    failures = {
      title    = "uploads fail"
      severity = "WARNING"
      when     = "${local.query.failures} > ${var.alert_failure_ratio} and ${local.query.uploads} >= 20" # one failure of one is no trend
      lasting  = "600s"
      advice   = "More than ${var.alert_failure_ratio * 100} % of uploads end in a failure of the service's own (${join(", ", local.our_codes)}). Chart 'Outcomes per second, by status and code'; infra/README.md: 'Read a failure'."
    }
    latency = {
      title    = "uploads take long"
      severity = "WARNING"
      when     = "${local.query.p95} > ${var.alert_p95_ms}"
      lasting  = "900s"
      advice   = "95th percentile above ${var.alert_p95_ms} ms. jsonPayload.timings_ms in the log says which step. infra/README.md: 'Read a failure'."
    }
    starts = {
      title    = "instances do not start"
      severity = "CRITICAL"
      when     = "${local.query.starts} > 0"
      lasting  = "0s"
      advice   = "The start probe failed. Driver, wheel and reason are in the log with severity ERROR; infra/README.md: 'The GPU is not found'. Going back: 'Change the model, go back'."
    }
  }
}

resource "google_monitoring_notification_channel" "email" {
  for_each     = toset(var.alert_emails)
  display_name = "${var.name}: ${each.key}"
  type         = "email"
  labels       = { email_address = each.key }
  depends_on   = [google_project_service.api]
}

locals {
  channels = concat(var.notification_channels, [for channel in google_monitoring_notification_channel.email : channel.id])
}

resource "google_billing_budget" "month" {
  count = var.billing_account == "" ? 0 : 1

  billing_account = var.billing_account
  display_name    = "${var.project}: ${var.name}"

  budget_filter {
    projects = ["projects/${var.project_number}"]
  }

  amount {
    specified_amount {
      units = tostring(var.monthly_budget)
    }
  }

  dynamic "threshold_rules" {
    for_each = [0.5, 0.9, 1.0]
    content {
      threshold_percent = threshold_rules.value
    }
  }

  dynamic "all_updates_rule" { # besides the billing account's administrators, who are always told
    for_each = length(local.channels) > 0 ? [local.channels] : []
    content {
      monitoring_notification_channels = slice(all_updates_rule.value, 0, min(5, length(all_updates_rule.value)))
    }
  }

  depends_on = [google_project_service.api]
}

resource "google_monitoring_alert_policy" "alert" {
  for_each = local.alerts

  display_name          = "${var.name}: ${each.value.title}"
  severity              = each.value.severity
  combiner              = "OR"
  notification_channels = local.channels
  user_labels           = var.labels

  conditions {
    display_name = each.value.title
    condition_prometheus_query_language {
      query                     = each.value.when
      duration                  = each.value.lasting
      evaluation_interval       = "60s"
      disable_metric_validation = true # a metric made from logs exists only after the first such line
    }
  }

  alert_strategy {
    auto_close = "86400s"
  }

  documentation {
    mime_type = "text/markdown"
    content   = each.value.advice
  }
}

locals {
  charts = [ # title, unit of the axis, queries
    ["Outcomes per second, by status and code", "1/s", [local.query.by_code]],
    ["Milliseconds per upload, 50th and 95th percentile", "ms", [local.query.p50, local.query.p95]],
    ["Uploads waiting", "", [local.query.waiting]],
    ["Age of the oldest waiting upload, last try and end", "s", [local.query.backlog_age, local.query.dead_age, local.query.ending_age]],
    ["Instances", "", [local.query.instances]],
    ["Answers per second, by HTTP status", "1/s", [local.query.answers]],
    ["CPU and memory in use, 95th percentile", "", [local.query.cpu, local.query.memory]],
    ["Last tries; given up; starts that failed", "", [local.query.dead_letters, local.query.given_up, local.query.starts]],
    ["Handed back per minute; not announced; unexpected errors", "", [local.query.retries, local.query.unpublished, local.query.crashes]],
    ["Backfill: attempts of a task that failed", "", [local.query.backfill]],
  ]
}

resource "google_monitoring_dashboard" "cutdrop" {
  dashboard_json = jsonencode({
    displayName = var.name
    mosaicLayout = {
      columns = 12
      tiles = [for index, chart in local.charts : {
        xPos   = index % 2 * 6
        yPos   = floor(index / 2) * 4
        width  = 6
        height = 4
        widget = {
          title = chart[0]
          xyChart = {
            yAxis    = { label = chart[1] }
            dataSets = [for query in chart[2] : { plotType = "LINE", timeSeriesQuery = { prometheusQuery = query } }]
          }
        }
      }]
    }
  })
}
