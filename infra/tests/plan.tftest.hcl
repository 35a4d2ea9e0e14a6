# `terraform test` in infra/, Terraform 1.11 or later: what a plan holds, without an account. The provider is fetched, its
# answers are made up. Most runs use the notification transport: the other one calls gcloud when it is applied.

mock_provider "google" {
  override_during = plan

  mock_data "google_project" {
    defaults = { number = "123456789012" }
  }

  mock_data "google_storage_project_service_account" {
    defaults = { email_address = "service-123456789012@gs-project-accounts.iam.gserviceaccount.com" }
  }

  mock_data "google_pubsub_subscription" {
    defaults = {
      ack_deadline_seconds = 600
      dead_letter_policy   = [{ dead_letter_topic = "projects/test-project/topics/cutdrop-dead-letter", max_delivery_attempts = 50 }]
    }
  }

  mock_resource "google_eventarc_trigger" {
    defaults = { transport = [{ pubsub = [{ topic = "", subscription = "projects/test-project/subscriptions/eventarc-us-central1-sub-1" }] }] }
  }

  mock_resource "google_cloud_run_v2_service" {
    defaults = { uri = "https://cutdrop.example.app" }
  }

  mock_resource "google_pubsub_subscription" {
    defaults = { id = "projects/test-project/subscriptions/cutdrop-uploads" }
  }
}

variables {
  project   = "test-project"
  image_tag = "a1b2c3d"
  transport = "notification"
}

run "the_service_is_private_and_waits_for_its_weights" {
  command = plan

  assert {
    condition     = google_cloud_run_v2_service.cutdrop.ingress == "INGRESS_TRAFFIC_INTERNAL_ONLY"
    error_message = "The service can be reached from the internet."
  }

  assert {
    condition     = google_cloud_run_v2_service.cutdrop.template[0].containers[0].startup_probe[0].http_get[0].path == "/startup"
    error_message = "The start probe does not ask the server whether it is ready."
  }

  assert {
    condition     = google_cloud_run_v2_service.cutdrop.template[0].containers[0].image == "us-central1-docker.pkg.dev/test-project/cutdrop/server:a1b2c3d"
    error_message = "The image is not the one of image_tag."
  }
}

run "the_subscription_that_eventarc_makes_is_corrected" {
  command = plan

  variables {
    transport = "eventarc"
  }

  expect_failures = [check.upload_subscription] # cannot be known before the first apply

  assert {
    condition     = length(google_eventarc_trigger.uploads) == 1 && length(google_pubsub_subscription.uploads) == 0
    error_message = "There is not one trigger and no subscription of our own."
  }

  assert {
    condition     = google_eventarc_trigger.uploads[0].location == lower(google_storage_bucket.images["upload"].location)
    error_message = "A trigger must be where its bucket is."
  }

  assert {
    condition     = contains(terraform_data.eventarc_subscription[0].triggers_replace, 600)
    error_message = "The managed subscription keeps its ack deadline of 10 s."
  }

  assert {
    condition     = output.upload_subscription == "eventarc-us-central1-sub-1"
    error_message = "The managed subscription is not the one that is watched."
  }
}

run "the_other_transport_is_all_declared" {
  command = plan

  variables {
    transport = "notification"
  }

  assert {
    condition     = length(google_eventarc_trigger.uploads) == 0 && length(terraform_data.eventarc_subscription) == 0
    error_message = "The notification transport still has a trigger."
  }

  assert {
    condition     = google_pubsub_subscription.uploads[0].ack_deadline_seconds == 600 && google_pubsub_subscription.uploads[0].push_config[0].push_endpoint == "https://cutdrop.example.app"
    error_message = "The push subscription does not reach the service with 600 s."
  }
}

run "buckets_in_another_location_take_the_trigger_along" {
  command = plan

  variables {
    transport       = "eventarc"
    region          = "europe-west4"
    bucket_location = "eu"
  }

  expect_failures = [check.upload_subscription] # cannot be known before the first apply

  assert {
    condition     = google_storage_bucket.images["upload"].location == "EU" && google_eventarc_trigger.uploads[0].location == "eu"
    error_message = "The trigger does not follow the bucket's location."
  }
}

run "a_setting_reaches_service_and_job_and_an_empty_one_is_left_out" {
  command = plan

  variables {
    settings = { OUTPUT_FORMAT = "webp", UPLOAD_PREFIX = "shop/" }
  }

  assert {
    condition = alltrue([
      for container in [google_cloud_run_v2_service.cutdrop.template[0].containers[0], google_cloud_run_v2_job.backfill.template[0].template[0].containers[0]] :
      contains([for variable in container.env : "${variable.name}=${variable.value}"], "OUTPUT_FORMAT=webp") && !contains([for variable in container.env : variable.name], "OUTPUT_PREFIX")
    ])
    error_message = "The settings do not arrive as they were given."
  }

  assert {
    condition     = google_storage_notification.uploads[0].object_name_prefix == "shop/"
    error_message = "Uploads outside the prefix are announced for nothing."
  }
}

run "a_digest_and_a_revision_roll_back" {
  command = plan

  variables {
    image_tag       = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
    pinned_revision = "cutdrop-00007-abc"
  }

  assert {
    condition     = strcontains(output.image, "/server@sha256:")
    error_message = "A digest is joined by @."
  }

  assert {
    condition     = google_cloud_run_v2_service.cutdrop.traffic[0].revision == "cutdrop-00007-abc"
    error_message = "The traffic does not go to the pinned revision."
  }
}

run "one_key_encrypts_everything" {
  command = plan

  variables {
    kms_key = "projects/test-project/locations/us-central1/keyRings/r/cryptoKeys/k"
  }

  assert {
    condition = alltrue(concat(
      [for bucket in google_storage_bucket.images : bucket.encryption[0].default_kms_key_name == var.kms_key],
      [google_storage_bucket.build_source.encryption[0].default_kms_key_name == var.kms_key],
      [for topic in [google_pubsub_topic.completion, google_pubsub_topic.dead_letter] : topic.kms_key_name == var.kms_key],
      [google_cloud_run_v2_service.cutdrop.template[0].encryption_key == var.kms_key],
      [google_cloud_run_v2_job.backfill.template[0].template[0].encryption_key == var.kms_key],
      [google_artifact_registry_repository.images.kms_key_name == var.kms_key],
    ))
    error_message = "Something is encrypted with another key."
  }
}

run "a_budget_above_the_timeout_is_refused" {
  command = plan

  variables {
    settings = { REQUEST_BUDGET_S = "540" }
  }

  expect_failures = [google_cloud_run_v2_service.cutdrop]
}

run "more_instances_than_the_quota_are_refused" {
  command = plan

  variables {
    max_instances = 3 # and the backfill's one
  }

  expect_failures = [var.max_instances]
}

run "a_timeout_above_the_ack_deadline_is_refused" {
  command = plan

  variables {
    request_timeout_s = 600
  }

  expect_failures = [var.request_timeout_s]
}

run "a_misspelt_setting_is_refused" {
  command = plan

  variables {
    settings = { MASK_TRESHOLD = "0.5" }
  }

  expect_failures = [var.settings]
}

run "a_moving_tag_is_refused" {
  command = plan

  variables {
    image_tag = "latest"
  }

  expect_failures = [var.image_tag]
}

run "a_managed_subscription_that_was_reset_is_noticed" {
  command = plan

  override_data {
    target = data.google_pubsub_subscription.uploads
    values = { ack_deadline_seconds = 10, dead_letter_policy = [] }
  }

  expect_failures = [check.upload_subscription]
}
