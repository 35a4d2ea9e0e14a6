# What is counted, what is shown, and what wakes somebody. The server writes one JSON line per upload; the metrics read it.

locals {
  log_of_service = "resource.type=\"cloud_run_revision\" AND resource.labels.service_name=\"${google_cloud_run_v2_service.cutdrop.name}\""
  metric_prefix  = replace(var.name, "-", "_") # so that the name is the same in PromQL
}

resource "google_logging_metric" "outcomes" {
  name        = "${local.metric_prefix}_outcomes"
  description = "Deliveries by what became of them: completed, failed (code says why), ignored, retry, crash."
  filter      = "${local.log_of_service} AND jsonPayload.logger=\"cutdrop\" AND jsonPayload.status:*"

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
  of_dead_letters    = "subscription_id=\"${google_pubsub_subscription.dead_letter.name}\""

  uploads_rate = "sum(rate(${local.outcomes}{${local.of_run},status=~\"completed|failed\"}[30m]))"

  query = {
    dead_letters = "sum(increase(pubsub_googleapis_com:subscription_dead_letter_message_count{${local.of_uploads}}[10m]))"
    backlog_age  = "max(pubsub_googleapis_com:subscription_oldest_unacked_message_age{${local.of_uploads}})"
    dead_age     = "max(pubsub_googleapis_com:subscription_oldest_unacked_message_age{${local.of_dead_letters}})"
    failures     = "sum(rate(${local.outcomes}{${local.of_run},status=\"failed\"}[30m])) / ${local.uploads_rate}"
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
      title    = "uploads were given up"
      severity = "ERROR"
      when     = "${local.query.dead_letters} > 0"
      lasting  = "0s"
      advice   = "Delivered ${var.max_delivery_attempts} times without success; a failure message with code gave_up was published for each. README: 'Drain the dead letters'."
    }
    backlog = {
      title    = "uploads are waiting"
      severity = "WARNING"
      when     = "${local.query.backlog_age} > ${var.alert_backlog_s} or ${local.query.dead_age} > ${var.alert_backlog_s}"
      lasting  = "300s"
      advice   = "The oldest upload waits longer than ${var.alert_backlog_s} s. Look at instances against max_instances and gpu_quota, then at the answers by code."
    }
    failures = {
      title    = "uploads fail"
      severity = "WARNING"
      when     = "${local.query.failures} > ${var.alert_failure_ratio} and ${local.query.uploads} >= 20" # one failure of one is no trend
      lasting  = "600s"
      advice   = "More than ${var.alert_failure_ratio * 100} % of uploads end in a failure message. Codes are in the dashboard and in jsonPayload.code; README: 'Read a failure'."
    }
    latency = {
      title    = "uploads take long"
      severity = "WARNING"
      when     = "${local.query.p95} > ${var.alert_p95_ms}"
      lasting  = "900s"
      advice   = "95th percentile above ${var.alert_p95_ms} ms. jsonPayload.timings_ms says which step; a slow segment step with device cpu means that the GPU was not found."
    }
    starts = {
      title    = "instances do not start"
      severity = "CRITICAL"
      when     = "${local.query.starts} > 0"
      lasting  = "0s"
      advice   = "The start probe failed. Driver, wheel and reason are in the log with severity ERROR; README: 'When the GPU is not found'. Going back: pinned_revision or image_tag."
    }
  }
}

resource "google_monitoring_alert_policy" "alert" {
  for_each = local.alerts

  display_name          = "${var.name}: ${each.value.title}"
  severity              = each.value.severity
  combiner              = "OR"
  notification_channels = var.notification_channels
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
    ["Age of the oldest waiting upload and dead letter", "s", [local.query.backlog_age, local.query.dead_age]],
    ["Instances", "", [local.query.instances]],
    ["Answers per second, by HTTP status", "1/s", [local.query.answers]],
    ["CPU and memory in use, 95th percentile", "", [local.query.cpu, local.query.memory]],
    ["Given up; starts that failed", "", [local.query.dead_letters, local.query.starts]],
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
