// Whose CustomResourceDefinitions the routes and monitors of the chart are checked against: nothing is built from here.
module keywright.dev/tests/it/chart/crds

go 1.26

require (
	github.com/prometheus-operator/prometheus-operator v0.85.0
	sigs.k8s.io/gateway-api v1.6.3
)
