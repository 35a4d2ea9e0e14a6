# Who may do what: read this file as one list. Nobody is public; the only roles on the whole project are the three that
# Google offers nowhere smaller. Whoever deploys needs iam.serviceAccounts.actAs on these accounts.

locals {
  member = "^(user|group|serviceAccount|domain|principal|principalSet):[^[:space:]]+$"
}

resource "google_service_account" "account" {
  for_each = {
    runtime  = "The service: reads uploads, writes results, announces outcomes"
    backfill = "The backfill job: the same, and it may read the bucket it works through"
    finisher = "Announces what became of uploads that were given up: reads both buckets, writes none"
    replay   = "The replay job: reads announced failures, sends their uploads to the service again"
    trigger  = "Eventarc and Pub/Sub push: may call the service and the finisher, nothing else"
    webhook  = "Signs what is pushed to webhook_urls; may do nothing here"
    build    = "Cloud Build: reads the source it was given, writes images"
  }

  account_id  = "${var.name}-${each.key}"
  description = each.value
  depends_on  = [google_project_service.api]
}

locals {
  workers    = toset(["runtime", "backfill"])
  announcers = toset(["runtime", "backfill", "finisher"])

  agent = { # Google's own accounts that work on our behalf
    pubsub   = "service-${var.project_number}@gcp-sa-pubsub.iam.gserviceaccount.com"
    registry = "service-${var.project_number}@gcp-sa-artifactregistry.iam.gserviceaccount.com"
    run      = "service-${var.project_number}@serverless-robot-prod.iam.gserviceaccount.com"
    storage  = data.google_storage_project_service_account.agent.email_address
  }
}

# Asking for it also makes it. Without depends_on: it would be asked again whenever an API is added, and until the answer
# every right of the agent would be planned anew. Cloud Storage is on in every project.
data "google_storage_project_service_account" "agent" {}

# ---- those that work on uploads

resource "google_storage_bucket_iam_member" "reads_uploads" {
  for_each = local.announcers
  bucket   = google_storage_bucket.images["upload"].name
  role     = "roles/storage.objectViewer"
  member   = google_service_account.account[each.key].member
}

resource "google_storage_bucket_iam_member" "writes_results" { # and reads them: idempotency looks at what is there
  for_each = local.workers
  bucket   = google_storage_bucket.images["output"].name
  role     = "roles/storage.objectUser"
  member   = google_service_account.account[each.key].member
}

resource "google_storage_bucket_iam_member" "finisher_reads_results" {
  bucket = google_storage_bucket.images["output"].name
  role   = "roles/storage.objectViewer"
  member = google_service_account.account["finisher"].member
}

resource "google_pubsub_topic_iam_member" "announces" {
  for_each = local.announcers
  topic    = google_pubsub_topic.completion.id
  role     = "roles/pubsub.publisher"
  member   = google_service_account.account[each.key].member
}

resource "google_storage_bucket_iam_member" "backfill_reads" {
  count  = var.backfill_bucket == "" ? 0 : 1
  bucket = var.backfill_bucket
  role   = "roles/storage.objectViewer"
  member = google_service_account.account["backfill"].member
}

# ---- the trigger

resource "google_cloud_run_v2_service_iam_member" "trigger_invokes" {
  name     = google_cloud_run_v2_service.cutdrop.name
  location = google_cloud_run_v2_service.cutdrop.location
  role     = "roles/run.invoker"
  member   = google_service_account.account["trigger"].member
}

resource "google_project_iam_member" "trigger_receives" {
  count   = var.transport == "eventarc" ? 1 : 0
  project = var.project
  role    = "roles/eventarc.eventReceiver"
  member  = google_service_account.account["trigger"].member
}

resource "google_project_iam_member" "storage_publishes" { # to Eventarc's topic, which has no name before the trigger exists
  count   = var.transport == "eventarc" ? 1 : 0
  project = var.project
  role    = "roles/pubsub.publisher"
  member  = "serviceAccount:${local.agent.storage}"
}

resource "google_pubsub_topic_iam_member" "storage_announces" {
  count  = var.transport == "notification" ? 1 : 0
  topic  = google_pubsub_topic.uploads[0].id
  role   = "roles/pubsub.publisher"
  member = "serviceAccount:${local.agent.storage}"
}

resource "google_cloud_run_v2_service_iam_member" "trigger_invokes_finisher" {
  name     = google_cloud_run_v2_service.finisher.name
  location = google_cloud_run_v2_service.finisher.location
  role     = "roles/run.invoker"
  member   = google_service_account.account["trigger"].member
}

# ---- dead letters: Pub/Sub's agent moves the message, taking it off one side and putting it on the other

resource "google_pubsub_subscription_iam_member" "agent_takes_undelivered" {
  for_each = merge(
    {
      uploads  = local.upload_subscription
      last-try = google_pubsub_subscription.last_try.name
      replay   = google_pubsub_subscription.replay.name
    },
    { for name, subscription in google_pubsub_subscription.webhook : "webhook-${name}" => subscription.name },
  )
  subscription = each.value
  role         = "roles/pubsub.subscriber"
  member       = "serviceAccount:${local.agent.pubsub}"
}

resource "google_pubsub_topic_iam_member" "agent_dead_letters" {
  for_each = merge(
    { dead-letter = google_pubsub_topic.dead_letter.id, given-up = google_pubsub_topic.given_up.id },
    { for topic in google_pubsub_topic.undelivered : "undelivered" => topic.id },
  )
  topic  = each.value
  role   = "roles/pubsub.publisher"
  member = "serviceAccount:${local.agent.pubsub}"
}

# ---- the replay

resource "google_pubsub_subscription_iam_member" "replay_reads_failures" {
  subscription = google_pubsub_subscription.failures.name
  role         = "roles/pubsub.subscriber" # which may also rewind it
  member       = google_service_account.account["replay"].member
}

resource "google_pubsub_topic_iam_member" "replay_sends" {
  topic  = google_pubsub_topic.replay.id
  role   = "roles/pubsub.publisher"
  member = google_service_account.account["replay"].member
}

# ---- people

resource "google_storage_bucket_iam_member" "uploader" {
  for_each = toset(var.uploaders)
  bucket   = google_storage_bucket.images["upload"].name
  role     = "roles/storage.objectUser" # an upload over an existing name is a deletion, which a creator may not
  member   = each.key
}

resource "google_storage_bucket_iam_member" "reader" {
  for_each = toset(var.readers)
  bucket   = google_storage_bucket.images["output"].name
  role     = "roles/storage.objectViewer"
  member   = each.key
}

resource "google_pubsub_topic_iam_member" "subscriber" { # to make a subscription of their own, in their project or this one
  for_each = toset(var.subscribers)
  topic    = google_pubsub_topic.completion.id
  role     = "roles/pubsub.subscriber"
  member   = each.key
}

resource "google_pubsub_subscription_iam_member" "subscriber" {
  for_each     = { for pair in setproduct(var.subscribers, keys(google_pubsub_subscription.example)) : join(" ", pair) => pair }
  subscription = google_pubsub_subscription.example[each.value[1]].name
  role         = "roles/pubsub.subscriber"
  member       = each.value[0]
}

# ---- the build

resource "google_storage_bucket_iam_member" "build_reads_source" {
  bucket = google_storage_bucket.build_source.name
  role   = "roles/storage.objectViewer"
  member = google_service_account.account["build"].member
}

resource "google_artifact_registry_repository_iam_member" "build_writes_images" {
  repository = google_artifact_registry_repository.images.name
  location   = google_artifact_registry_repository.images.location
  role       = "roles/artifactregistry.writer"
  member     = google_service_account.account["build"].member
}

resource "google_project_iam_member" "build_writes_logs" {
  project = var.project
  role    = "roles/logging.logWriter"
  member  = google_service_account.account["build"].member
}

# ---- own encryption key (optional)

locals {
  kms_key = var.kms_key == "" ? null : var.kms_key
}

# In a project that never used them, the agents of run, pubsub and artifactregistry do not exist yet: make them once
# with `gcloud beta services identity create --service=run.googleapis.com` and so on. Eventarc's own topic (names and sizes,
# no pixels) stays under Google's key; transport = "notification" has none.
resource "google_kms_crypto_key_iam_member" "agent" {
  for_each      = { for name, account in local.agent : name => account if local.kms_key != null }
  crypto_key_id = local.kms_key
  role          = "roles/cloudkms.cryptoKeyEncrypterDecrypter"
  member        = "serviceAccount:${each.value}"
}
