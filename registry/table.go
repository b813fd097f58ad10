// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package registry

// scope is the number of segments that follow a resource's storage prefix in an object's key.
type scope uint8

const (
	singleton  scope = 0 // the prefix is the object's whole key
	cluster    scope = 1 // <name>
	namespaced scope = 2 // <namespace>/<name>
)

// builtin is a resource that kube-apiserver itself serves.
type builtin struct {
	group, resource string
	scope           scope
}

// builtins holds every resource that kube-apiserver 1.31 to 1.37 stores outside of an API group's
// folder, by its storage prefix: the resource's name without its group but for the few whose prefix
// is older than the rule.
var builtins = makeBuiltins()

func makeBuiltins() map[string]builtin {
	table := map[string]builtin{
		"controllers":                {"", "replicationcontrollers", namespaced},
		"ingress":                    {"networking.k8s.io", "ingresses", namespaced},
		"minions":                    {"", "nodes", cluster},
		"services/endpoints":         {"", "endpoints", namespaced},
		"services/specs":             {"", "services", namespaced},
		"masterleases":               {"", "masterleases", cluster},
		"peerserverleases":           {"", "peerserverleases", cluster},
		"ranges/serviceips":          {"", "serviceipallocations", singleton},
		"ranges/secondaryserviceips": {"", "serviceipallocations", singleton},
		"ranges/servicenodeports":    {"", "servicenodeportallocations", singleton},
	}
	for _, g := range []struct {
		group     string
		scope     scope
		resources []string
	}{
		{"", cluster, []string{"namespaces", "persistentvolumes"}},
		{"", namespaced, []string{
			"configmaps", "events", "limitranges", "persistentvolumeclaims", "pods", "podtemplates",
			"resourcequotas", "secrets", "serviceaccounts",
		}},
		{"admissionregistration.k8s.io", cluster, []string{
			"mutatingadmissionpolicies", "mutatingadmissionpolicybindings", "mutatingwebhookconfigurations",
			"validatingadmissionpolicies", "validatingadmissionpolicybindings", "validatingwebhookconfigurations",
		}},
		{"apps", namespaced, []string{"controllerrevisions", "daemonsets", "deployments", "replicasets", "statefulsets"}},
		{"autoscaling", namespaced, []string{"horizontalpodautoscalers"}},
		{"batch", namespaced, []string{"cronjobs", "jobs"}},
		{"certificates.k8s.io", cluster, []string{"certificatesigningrequests", "clustertrustbundles"}},
		{"certificates.k8s.io", namespaced, []string{"podcertificaterequests"}},
		{"coordination.k8s.io", namespaced, []string{"leasecandidates", "leases"}},
		{"discovery.k8s.io", namespaced, []string{"endpointslices"}},
		{"flowcontrol.apiserver.k8s.io", cluster, []string{"flowschemas", "prioritylevelconfigurations"}},
		{"internal.apiserver.k8s.io", cluster, []string{"storageversions"}},
		{"lifecycle.k8s.io", namespaced, []string{"evictionrequests", "evictions"}},
		{"networking.k8s.io", cluster, []string{"ingressclasses", "ipaddresses", "servicecidrs"}},
		{"networking.k8s.io", namespaced, []string{"networkpolicies"}},
		{"node.k8s.io", cluster, []string{"runtimeclasses"}},
		{"policy", namespaced, []string{"poddisruptionbudgets"}},
		{"rbac.authorization.k8s.io", cluster, []string{"clusterrolebindings", "clusterroles"}},
		{"rbac.authorization.k8s.io", namespaced, []string{"rolebindings", "roles"}},
		{"resource.k8s.io", cluster, []string{
			"deviceclasses", "devicetaintrules", "resourcepoolstatusrequests", "resourceslices",
		}},
		{"resource.k8s.io", namespaced, []string{"podschedulingcontexts", "resourceclaims", "resourceclaimtemplates"}},
		{"scheduling.k8s.io", cluster, []string{"priorityclasses"}},
		{"scheduling.k8s.io", namespaced, []string{"compositepodgroups", "podgroups", "workloads"}},
		{"storage.k8s.io", cluster, []string{
			"csidrivers", "csinodes", "storageclasses", "volumeattachments", "volumeattributesclasses",
		}},
		{"storage.k8s.io", namespaced, []string{"csistoragecapacities"}},
		{"storagemigration.k8s.io", cluster, []string{"storageversionmigrations"}},
	} {
		for _, resource := range g.resources {
			table[resource] = builtin{g.group, resource, g.scope}
		}
	}
	return table
}
