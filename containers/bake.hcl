# Every image in one build: `make images`, or from the repository's root
#
#     docker buildx bake --file containers/bake.hcl --file containers/images.json
#
# images.json lists the declared stages (`make image-list`). Each variable may be set in the environment.
variable "SIM2EDGE_TAG" { default = "0.1.0" }
variable "VERSION" { default = "0.1.0" }
variable "REVISION" { default = "unknown" }
variable "BASE_IMAGE" { default = "" }
variable "BUILD_IMAGE" { default = "" }
variable "WHEELHOUSE_IMAGE" { default = "" }
variable "TORCH_BACKEND" { default = "cpu" }
variable "PLATFORM" { default = "" }
variable "STAGES" { default = [] }

group "default" {
  targets = ["stages", "devices", "services"]
}

target "common" {
  context    = "."
  dockerfile = "containers/Dockerfile"
  target     = "image"
  # An empty variable leaves the Dockerfile's own default in place.
  args = {
    BASE_IMAGE       = BASE_IMAGE != "" ? BASE_IMAGE : null
    BUILD_IMAGE      = BUILD_IMAGE != "" ? BUILD_IMAGE : null
    WHEELHOUSE_IMAGE = WHEELHOUSE_IMAGE != "" ? WHEELHOUSE_IMAGE : null
    TORCH_BACKEND    = TORCH_BACKEND
    VERSION          = VERSION
    REVISION         = REVISION
  }
}

target "stages" {
  inherits = ["common"]
  name     = stage.name
  matrix   = { stage = STAGES }
  args     = { IMAGE = stage.name, PARENT = stage.parent, EXTRA = stage.extra }
  tags     = ["sim2edge/${stage.name}:${SIM2EDGE_TAG}"]
}

target "services" {
  inherits = ["common"]
  name     = service
  matrix   = { service = ["airflow", "mlflow", "s3", "engine-proxy"] }
  args     = { IMAGE = service, PACKAGES = service }
  tags     = ["sim2edge/${service}:${SIM2EDGE_TAG}"]
}

# Capture in Webots, on Webots' own image: not in the default group (docs/webots.md).
target "capture-webots" {
  context    = "."
  dockerfile = "containers/webots/Dockerfile"
  target     = "image"
  args       = { VERSION = VERSION, REVISION = REVISION }
  tags       = ["sim2edge/capture-webots:${SIM2EDGE_TAG}"]
}

# The only images built for another architecture than this machine's: PLATFORM=linux/arm64.
target "devices" {
  inherits  = ["common"]
  name      = device
  matrix    = { device = ["device", "device-tflite"] }
  args      = { IMAGE = device, PACKAGES = device }
  tags      = ["sim2edge/${device}:${SIM2EDGE_TAG}${PLATFORM == "" ? "" : "-${split("/", PLATFORM)[1]}"}"]
  platforms = PLATFORM == "" ? null : [PLATFORM]
}
