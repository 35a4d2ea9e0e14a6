# The completion topic and where its messages go by themselves: examples, webhooks, a table.

locals {
  ack_deadline_s    = 600        # the longest there is; for push it is also how long Pub/Sub waits for the answer
  retention         = "604800s"  # 7 days: longer than all attempts take
  longest_retention = "2678400s" # 31 days
  minimum_backoff   = "10s"
  maximum_backoff   = "600s"
}

resource "google_pubsub_schema" "completion" {
  name       = "${var.name}-completion"
  type       = "AVRO"
  definition = file("${path.module}/../shared/subscriber/completion.avsc")
  depends_on = [google_project_service.api]
}

resource "google_pubsub_topic" "completion" {
  name         = "${var.name}-completion"
  kms_key_name = local.kms_key
  labels       = var.labels

  schema_settings {
    schema   = google_pubsub_schema.completion.id
    encoding = "JSON"
  }

  depends_on = [google_kms_crypto_key_iam_member.agent]
}

# To try things with (example_subscriptions). A reader makes a subscription of its own; filters see attributes only, and
# cannot be changed later.
resource "google_pubsub_subscription" "example" {
  for_each = toset(var.example_subscriptions ? ["completed", "failed"] : [])

  name                       = "${var.name}-${each.key}"
  topic                      = google_pubsub_topic.completion.id
  filter                     = "attributes.status = \"${each.key}\""
  ack_deadline_seconds       = 60
  message_retention_duration = local.retention
  labels                     = var.labels

  expiration_policy {
    ttl = "2678400s" # 31 days without a reader: nobody pays for messages that nobody reads
  }
}

# ---- webhook_urls: every outcome is posted to each address, signed with OIDC (the audience is the address)

resource "google_pubsub_subscription" "webhook" {
  for_each = var.webhook_urls

  name                       = "${var.name}-webhook-${each.key}"
  topic                      = google_pubsub_topic.completion.id
  ack_deadline_seconds       = 60
  message_retention_duration = local.retention
  labels                     = var.labels

  expiration_policy {
    ttl = ""
  }

  retry_policy {
    minimum_backoff = local.minimum_backoff
    maximum_backoff = local.maximum_backoff
  }

  dead_letter_policy {
    dead_letter_topic     = google_pubsub_topic.undelivered[0].id
    max_delivery_attempts = 100
  }

  push_config {
    push_endpoint = each.value
    oidc_token {
      service_account_email = google_service_account.account["webhook"].email
      audience              = each.value
    }
  }
}

resource "google_pubsub_topic" "undelivered" {
  count = length(var.webhook_urls) > 0 ? 1 : 0

  name         = "${var.name}-undelivered"
  kms_key_name = local.kms_key
  labels       = var.labels
  depends_on   = [google_project_service.api, google_kms_crypto_key_iam_member.agent]
}

resource "google_pubsub_subscription" "undelivered" { # to look at, and to post again by hand
  count = length(var.webhook_urls) > 0 ? 1 : 0

  name                       = "${var.name}-undelivered"
  topic                      = google_pubsub_topic.undelivered[0].id
  message_retention_duration = local.longest_retention
  labels                     = var.labels

  expiration_policy {
    ttl = ""
  }
}

# ---- outcomes_table: a row for every outcome
#
# The message goes whole into one JSON column, and not through the topic's schema into columns: the schema's maps (options,
# notes) would become repeated key-value records, its enum a number, and a field that a later version adds would be
# dropped until somebody changes the table. `SELECT data.status, data.options.crop FROM ...` needs none of that.

locals {
  outcomes_table = var.outcomes_table == "" ? [] : [split(".", var.outcomes_table)]
}

resource "google_bigquery_dataset" "outcomes" {
  count = length(local.outcomes_table)

  dataset_id                 = local.outcomes_table[0][0]
  location                   = var.region
  delete_contents_on_destroy = !var.deletion_protection
  labels                     = var.labels

  dynamic "default_encryption_configuration" {
    for_each = local.kms_key[*]
    content {
      kms_key_name = default_encryption_configuration.value
    }
  }

  depends_on = [google_project_service.api, google_kms_crypto_key_iam_member.agent]
}

resource "google_bigquery_table" "outcomes" {
  # checkov:skip=CKV_GCP_121: deletion_protection is the variable, as everywhere
  count = length(local.outcomes_table)

  dataset_id          = google_bigquery_dataset.outcomes[0].dataset_id
  table_id            = local.outcomes_table[0][1]
  deletion_protection = var.deletion_protection
  labels              = var.labels

  time_partitioning {
    type  = "DAY"
    field = "publish_time"
  }

  dynamic "encryption_configuration" {
    for_each = local.kms_key[*]
    content {
      kms_key_name = encryption_configuration.value
    }
  }

  schema = jsonencode([ # as Pub/Sub wants it for write_metadata without a schema
    { name = "subscription_name", type = "STRING" },
    { name = "message_id", type = "STRING" },
    { name = "publish_time", type = "TIMESTAMP" },
    { name = "attributes", type = "JSON" },
    { name = "data", type = "JSON" },
  ])
}

resource "google_bigquery_dataset_iam_member" "pubsub_writes" {
  count      = length(local.outcomes_table)
  dataset_id = google_bigquery_dataset.outcomes[0].dataset_id
  role       = "roles/bigquery.dataEditor"
  member     = "serviceAccount:${local.agent.pubsub}"
}

resource "google_pubsub_subscription" "outcomes_table" {
  count = length(local.outcomes_table)

  name                       = "${var.name}-outcomes-table"
  topic                      = google_pubsub_topic.completion.id
  message_retention_duration = local.retention
  labels                     = var.labels

  expiration_policy {
    ttl = ""
  }

  bigquery_config {
    table          = "${var.project}.${google_bigquery_table.outcomes[0].dataset_id}.${google_bigquery_table.outcomes[0].table_id}"
    write_metadata = true
  }

  depends_on = [google_bigquery_dataset_iam_member.pubsub_writes]
}
