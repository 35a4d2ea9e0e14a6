# What the commands of the operator's guide (README.md here) need: `terraform -chdir=infra output -raw NAME`.

output "upload_bucket" {
  description = "Drop images here."
  value       = google_storage_bucket.images["upload"].name
}

output "upload_url" {
  description = "Where an upload goes: the bucket and UPLOAD_PREFIX. Append its name."
  value       = "gs://${google_storage_bucket.images["upload"].name}/${local.all_settings.UPLOAD_PREFIX}"
}

output "output_bucket" {
  description = "Cutouts appear here."
  value       = google_storage_bucket.images["output"].name
}

output "completion_topic" {
  description = "Every outcome is published here; make a subscription of your own."
  value       = google_pubsub_topic.completion.id
}

output "subscriptions" {
  description = "Example subscriptions by status, if example_subscriptions is set."
  value       = { for status, subscription in google_pubsub_subscription.example : status => subscription.id }
}

output "upload_subscription" {
  description = "Subscription that delivers uploads to the service."
  value       = local.upload_subscription
}

output "dead_letter_topic" {
  description = "Where uploads go that could not be delivered."
  value       = google_pubsub_topic.dead_letter.id
}

output "dead_letter_subscription" {
  description = "Subscription that gives dead letters their last try; empty when all is well."
  value       = google_pubsub_subscription.last_try.name
}

output "given_up_subscription" {
  description = "Subscription that hands uploads that were given up to the finisher."
  value       = google_pubsub_subscription.given_up.name
}

output "replay_job" {
  description = "Name of the job that sends failures through the service again."
  value       = google_cloud_run_v2_job.replay.name
}

output "region" {
  description = "Region of service, job and images."
  value       = var.region
}

output "service" {
  description = "Name of the Cloud Run service."
  value       = google_cloud_run_v2_service.cutdrop.name
}

output "service_uri" {
  description = "Address of the service; answers to the trigger's account only."
  value       = google_cloud_run_v2_service.cutdrop.uri
}

output "image" {
  description = "Image that service and job run."
  value       = local.image
}

output "image_repository" {
  description = "Where the build pushes the image to, without tag."
  value       = terraform_data.build_ready.output
}

output "build_account" {
  description = "Service account of the build, as Cloud Build wants it."
  value       = google_service_account.account["build"].id
}

output "build_source" {
  description = "Where `gcloud builds submit` leaves the source."
  value       = "gs://${google_storage_bucket.build_source.name}/source"
}

output "backfill_job" {
  description = "Name of the backfill job."
  value       = google_cloud_run_v2_job.backfill.name
}

output "dashboard" {
  description = "Address of the dashboard."
  value       = "https://console.cloud.google.com/monitoring/dashboards/builder/${basename(google_monitoring_dashboard.cutdrop.id)}?project=${var.project}"
}
