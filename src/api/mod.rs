//! The custom resources of the group `keywright.dev`, version `v1alpha1`, as types. `crds/` and the chart hold what they print.
