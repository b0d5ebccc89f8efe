#!/usr/bin/env bash
# Deploys the worker to Google Cloud Run: as a service (has an address for /health, /metrics and the panel) or as a
# worker pool (no address; made for work that is pulled). Both do the same work and may run side by side.
#
#   scripts/deploy-cloud-run.sh --project P --region R --image I --supabase-url U [options] service|worker-pool|both
#
# The project's secret key comes from Secret Manager. This script never sees it, except to store it once:
# --create-secret reads it from standard input. Nothing secret ever stands on a command line.
set -euo pipefail

usage() {
  cat <<'USAGE'
Usage: scripts/deploy-cloud-run.sh [options] service|worker-pool|both

  --project ID            the Google Cloud project
  --region REGION         e.g. europe-west1; best the one nearest to the Supabase project
  --image IMAGE           the pushed image, best with its digest
  --supabase-url URL      https://….supabase.co
  --name NAME             of the service; the pool adds -pool (default: translation-worker)
  --secret NAME           in Secret Manager (default: supabase-secret-key)
  --secret-version N      (default: latest; a number makes a rollback exact)
  --create-secret         store the key first; it is read from standard input
  --service-account MAIL  who the worker runs as; needs roles/secretmanager.secretAccessor on the secret
  --min-instances N       of the service (default: 1; 0 would be a worker that sleeps)
  --max-instances N       of the service (default: 3)
  --instances N           of the worker pool (default: 1)
  --cpu N                 (default: 1)
  --memory SIZE           (default: 512Mi)
  --set NAME=VALUE        a setting of the worker, e.g. --set TRANSLATOR=deepl; may be repeated; not for keys
  --set-secret NAME=SECRET  a setting from Secret Manager, e.g. --set-secret DEEPL_API_KEY=deepl-key; may be repeated
  --public                let anybody reach the service: for the panel and the API, which check tokens themselves
  --dry-run               print the plan and change nothing
USAGE
}

fail() {
  printf 'deploy-cloud-run: %s\n' "$1" >&2
  exit 2
}

project='' region='' image='' supabase_url='' service_account='' target=''
name=translation-worker secret=supabase-secret-key secret_version=latest
min_instances=1 max_instances=3 instances=1 cpu=1 memory=512Mi
create_secret=false public=false dry_run=false
settings=() secrets=()

while (($#)); do
  case $1 in
    --create-secret) create_secret=true; shift ;;
    --public) public=true; shift ;;
    --dry-run) dry_run=true; shift ;;
    -h | --help) usage; exit 0 ;;
    --*)
      (($# >= 2)) || fail "$1 needs a value."
      case $1 in
        --project) project=$2 ;;
        --region) region=$2 ;;
        --image) image=$2 ;;
        --supabase-url) supabase_url=$2 ;;
        --name) name=$2 ;;
        --secret) secret=$2 ;;
        --secret-version) secret_version=$2 ;;
        --service-account) service_account=$2 ;;
        --min-instances) min_instances=$2 ;;
        --max-instances) max_instances=$2 ;;
        --instances) instances=$2 ;;
        --cpu) cpu=$2 ;;
        --memory) memory=$2 ;;
        --set) settings+=("$2") ;;
        --set-secret) secrets+=("$2") ;;
        *) fail "There is no option $1; --help names them." ;;
      esac
      shift 2 ;;
    service | worker-pool | both)
      [[ -z $target ]] || fail "Name one of service, worker-pool, both."
      target=$1; shift ;;
    *) fail "$1 is not one of service, worker-pool, both." ;;
  esac
done

[[ -n $target ]] || fail 'Name what to deploy: service, worker-pool or both.'
for required in project region image supabase_url; do
  [[ -n ${!required} ]] || fail "--${required//_/-} is missing."
done
[[ $supabase_url =~ ^https://[^[:space:]/?#@|]+$ ]] || fail "--supabase-url is '$supabase_url'; it must be https:// and a host."
for number in min_instances max_instances instances; do
  [[ ${!number} =~ ^[0-9]{1,4}$ ]] || fail "--${number//_/-} is '${!number}'; it must be a whole number."
done
((min_instances >= 1)) || fail '--min-instances must be 1 or more: a worker that is scaled to zero hears nothing.'
((max_instances >= min_instances)) || fail "--max-instances is $max_instances; it must be at least --min-instances, $min_instances."
((instances >= 1)) || fail '--instances must be 1 or more.'
for one in ${settings[@]+"${settings[@]}"}; do
  [[ $one =~ ^[A-Z][A-Z0-9_]*=[^\|]*$ ]] || fail "--set takes NAME=VALUE, without a |."
  # What looks like a key must not stand in a command line, in a shell's history, or in the revision's plain settings.
  [[ ! ${one%%=*} =~ (KEY|SECRET|TOKEN|PASSWORD)$ || ${one%%=*} == SUPABASE_PUBLISHABLE_KEY ]] \
    || fail "${one%%=*} is a secret: put it into Secret Manager and use --set-secret."
done
for one in ${secrets[@]+"${secrets[@]}"}; do
  [[ $one =~ ^[A-Z][A-Z0-9_]*=[A-Za-z0-9_-]+$ ]] || fail '--set-secret takes NAME=SECRET, the name of a secret in Secret Manager.'
done

run() {
  printf '+'
  printf ' %q' "$@"
  printf '\n'
  $dry_run || "$@"
}

# | between the settings, because values (lists of languages, of translators) have commas.
env_vars="^|^SUPABASE_URL=$supabase_url|LOG_JSON=true|SHUTDOWN_GRACE_SECONDS=8"
for one in ${settings[@]+"${settings[@]}"}; do env_vars+="|$one"; done
secret_vars="SUPABASE_SECRET_KEY=$secret:$secret_version"
for one in ${secrets[@]+"${secrets[@]}"}; do secret_vars+=",$one:latest"; done

common=(--project "$project" --region "$region" --image "$image" --cpu "$cpu" --memory "$memory"
  --set-env-vars "$env_vars" --set-secrets "$secret_vars" --quiet)
[[ -z $service_account ]] || common+=(--service-account "$service_account")

cat <<PLAN
Plan
  project    $project, $region
  image      $image
  worker     for $supabase_url, key from the secret $secret (version $secret_version)
PLAN
[[ $target == worker-pool ]] || echo "  service    $name, $min_instances to $max_instances instances, billed by instance, $($public && echo 'open to everybody' || echo 'only with a token of this project')"
[[ $target == service ]] || echo "  pool       $name-pool, $instances instances"
if $dry_run; then echo '  dry run    nothing is changed'; fi

if $create_secret; then
  # gcloud reads the key from our standard input.
  run gcloud secrets create "$secret" --project "$project" --replication-policy automatic --data-file -
elif ! $dry_run && ! gcloud secrets describe "$secret" --project "$project" --format 'value(name)' >/dev/null; then
  fail "The secret $secret cannot be read in $project. Run again with --create-secret and give the key on standard input."
fi

if [[ $target != worker-pool ]]; then
  # --no-cpu-throttling is billing by instance: between requests a throttled worker would hear nothing.
  # Cloud Run sends SIGTERM and kills 10 s later; the grace of 8 leaves time to hand in and give back.
  run gcloud run deploy "$name" "${common[@]}" \
    --no-cpu-throttling --min-instances "$min_instances" --max-instances "$max_instances" --port 8080 \
    --startup-probe httpGet.path=/health,httpGet.port=8080,periodSeconds=5,failureThreshold=12,timeoutSeconds=4 \
    --liveness-probe httpGet.path=/health,httpGet.port=8080,periodSeconds=30,failureThreshold=3,timeoutSeconds=4 \
    "$($public && echo --allow-unauthenticated || echo --no-allow-unauthenticated)"
fi
if [[ $target != service ]]; then
  # No port, no probes, always with CPU. The worker ends itself when it cannot work, and is started again.
  run gcloud run worker-pools deploy "$name-pool" "${common[@]}" --instances "$instances"
fi
