# From nothing to everything, in the order that Terraform finds, with a provider whose answers are made up.

mock_provider "google" {
  mock_data "google_pubsub_subscription" {
    defaults = {
      ack_deadline_seconds = 600
      dead_letter_policy   = [{ dead_letter_topic = "projects/test-project/topics/cutdrop-dead-letter", max_delivery_attempts = 50 }]
    }
  }
}

variables {
  project   = "test-project"
  image_tag = "a1b2c3d"
  transport = "notification" # the other one would call gcloud
  kms_key   = "projects/test-project/locations/us-central1/keyRings/r/cryptoKeys/k"
}

run "the_first_image_can_be_built_before_there_is_a_service" {
  command = apply

  plan_options {
    target = [terraform_data.build_ready]
  }

  assert {
    condition     = alltrue([for name in [output.image_repository, output.build_account, output.build_source] : length(name) > 0])
    error_message = "The build's command does not find its outputs."
  }
}

run "everything_is_made" {
  command = apply

  assert {
    condition     = output.image_repository == "us-central1-docker.pkg.dev/test-project/cutdrop/server"
    error_message = "The build would push somewhere else than the service looks."
  }
}

run "a_second_apply_with_another_image_changes_it" {
  command = apply

  variables {
    image_tag = "b2c3d4e"
  }

  assert {
    condition     = endswith(google_cloud_run_v2_service.cutdrop.template[0].containers[0].image, ":b2c3d4e")
    error_message = "A new tag does not reach the service."
  }
}
