package deploy

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/keytail/keytail/internal/testprogram"
)

var update = flag.Bool("update", false, "write deploy/kubernetes anew")

const chart = "helm/keytail"

// manifests are the files in kubernetes, each with the values of the chart that make it.
var manifests = []struct {
	file   string
	header string
	args   []string
}{
	{"deployment.yaml", "keytail as a Deployment, with all that belongs to it.", nil},
	{"daemonset.yaml", "keytail as a DaemonSet, in the place of deployment.yaml: a pod on each node.", []string{"--set", "kind=DaemonSet"}},
	{
		"servicemonitor.yaml", "In addition, if the Prometheus Operator is installed.",
		[]string{"--set", "serviceMonitor.enabled=true", "--show-only", "templates/servicemonitor.yaml"},
	},
	{
		"prometheusrule.yaml", "In addition, if the Prometheus Operator is installed: the alerts of docs/runbook.md.",
		[]string{"--set", "prometheusRule.enabled=true", "--show-only", "templates/prometheusrule.yaml"},
	},
}

// helm runs the helm of .ci/run with the chart's directory as the last argument.
func helm(t *testing.T, args ...string) (stdout string, err error) {
	t.Helper()
	path, missing := testprogram.Find(testprogram.Program{
		Name: "helm", Variable: "KEYTAIL_TEST_HELM", Places: []string{testprogram.InVenv("helm")},
		Install: "go build -C tools/helm -o DIR/helm helm.sh/helm/v4/cmd/helm, and set KEYTAIL_TEST_HELM=DIR/helm",
	})
	testprogram.SkipIfMissing(t, "helm", missing)
	var out, wrong bytes.Buffer
	cmd := exec.CommandContext(t.Context(), path, append(args, chart)...)
	home := t.TempDir()
	cmd.Env = append(os.Environ(), "HELM_CACHE_HOME="+home, "HELM_CONFIG_HOME="+home, "HELM_DATA_HOME="+home)
	cmd.Stdout, cmd.Stderr = &out, &wrong
	if err := cmd.Run(); err != nil {
		return out.String(), errors.New(out.String() + wrong.String())
	}
	return out.String(), nil
}

// render returns the manifests of a release with the name keytail.
func render(t *testing.T, values ...string) string {
	t.Helper()
	out, err := helm(t, append([]string{"template", "keytail"}, values...)...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

var source = regexp.MustCompile(`(?m)^# Source: keytail/templates/.*\n`)

// TestManifestsAreOfTheChart: one text for both. -update writes the files.
func TestManifestsAreOfTheChart(t *testing.T) {
	t.Parallel()
	for _, m := range manifests {
		want := "# " + m.header + "\n# Made from deploy/helm/keytail by: go test ./deploy -run Manifests -update\n" +
			source.ReplaceAllString(render(t, m.args...), "")
		path := filepath.Join("kubernetes", m.file)
		if *update {
			if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		got, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, string(got)); diff != "" {
			t.Errorf("%s (-chart +file):\n%s", path, diff)
		}
	}
}

// oldest and newest are the releases of Kubernetes whose schemas the objects must fit.
const (
	oldest = "1.30"
	newest = "1.37"
)

// validate runs kubernetes-validate. A kind without a schema, other than that of the
// Prometheus Operator, is a failure: it would not be checked at all.
func validate(t *testing.T, file string) {
	t.Helper()
	path, err := testprogram.Find(testprogram.Program{
		Name: "kubernetes-validate", Variable: "KEYTAIL_TEST_KUBERNETES_VALIDATE", Places: []string{testprogram.InVenv("kubernetes-validate")},
		Install: "pip install -r .ci/requirements.txt, and set KEYTAIL_TEST_KUBERNETES_VALIDATE to the path of kubernetes-validate",
	})
	testprogram.SkipIfMissing(t, "kubernetes-validate", err)
	out, err := exec.CommandContext(t.Context(), path, "--strict", "-k", oldest, "-k", newest, file).CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	want := 0
	for _, o := range objectsIn(t, file) {
		if o.Kind != "ServiceMonitor" && o.Kind != "PrometheusRule" {
			want += 2
		}
	}
	if passed := strings.Count(string(out), " passed for resource "); passed != want {
		t.Errorf("%s: %d checks have passed, want %d:\n%s", file, passed, want, out)
	}
}

func TestManifestsFitKubernetes(t *testing.T) {
	t.Parallel()
	for _, m := range manifests {
		validate(t, filepath.Join("kubernetes", m.file))
	}
}

// variants are releases with other values than the defaults.
var variants = map[string][]string{
	"grpc":        {"--set", "config.grpc_addr=:50051"},
	"autoscaling": {"--set", "autoscaling.enabled=true"},
	"tls":         {"--set", "config.ops_tls_cert_file=/tls/tls.crt,config.ops_tls_key_file=/tls/tls.key,serviceMonitor.enabled=true,serviceMonitor.labels.release=prometheus"},
	"placement":   {"--set", "nodeSelector.disk=ssd,priorityClassName=high,podLabels.a=b,podAnnotations.c=d,tolerations[0].operator=Exists,imagePullSecrets[0].name=pull"},
	"volumes":     {"--set", "extraVolumes[0].name=tls,extraVolumes[0].secret.secretName=tls,extraVolumeMounts[0].name=tls,extraVolumeMounts[0].mountPath=/tls"},
	"network":     {"--set", "networkPolicy.mongodb[0].ipBlock.cidr=10.1.0.0/16,networkPolicy.mongodbPorts={27015,27016},networkPolicy.clients=null"},
	"open":        {"--set", "networkPolicy.enabled=false"},
	"hardened":    {"--values", "hardened/values.yaml"},
	"daemonset":   {"--set", "kind=DaemonSet,autoscaling.enabled=true,config.grpc_addr=:50051"},
}

func TestChartVariantsFitKubernetes(t *testing.T) {
	t.Parallel()
	kinds := map[string][]string{}
	for name, values := range variants {
		file := filepath.Join(t.TempDir(), name+".yaml")
		if err := os.WriteFile(file, []byte(render(t, values...)), 0o600); err != nil {
			t.Fatal(err)
		}
		validate(t, file)
		for _, o := range objectsIn(t, file) {
			kinds[name] = append(kinds[name], o.Kind)
		}
	}
	for _, c := range []struct {
		variant, kind string
		want          bool
	}{
		{"autoscaling", "HorizontalPodAutoscaler", true},
		{"daemonset", "HorizontalPodAutoscaler", false},
		{"daemonset", "PodDisruptionBudget", false},
		{"open", "NetworkPolicy", false},
		{"tls", "ServiceMonitor", true},
		{"grpc", "ServiceMonitor", false},
	} {
		if got := slices.Contains(kinds[c.variant], c.kind); got != c.want {
			t.Errorf("%s: has a %s: %v, want %v", c.variant, c.kind, got, c.want)
		}
	}
}

func TestChartLints(t *testing.T) {
	t.Parallel()
	if _, err := helm(t, "lint", "--strict"); err != nil {
		t.Error(err)
	}
}

// TestChartRefusesMistakes that would be noticed late.
func TestChartRefusesMistakes(t *testing.T) {
	t.Parallel()
	for values, want := range map[string]string{
		"kind=Pod":                             "kind",
		"replica=5":                            "replica",
		"config.addr=:80":                      "config.addr: leave it out: the image listens on :8080",
		"config.ops_addr=:80":                  "config.ops_addr: leave it out",
		"config.dev=true":                      "dev",
		"config.mongodb_uri=db1":               "mongodb_uri",
		"config.mongodb_uri=mongodb://u:p@h/a": "mongodb_uri", // a ConfigMap is no place for a password
		"memoryMiB=512":                        "a cache of 512 MiB needs 1024 MiB",
		"config.drain_delay=20s":               "terminationGracePeriodSeconds must be 36 or more",
		"config.ops_tls_client_ca_file=/ca":    "the kubelet has no certificate",
		"config.drain_delay=1m":                "drain_delay",
		"networkPolicy.mongodbPorts[0]=atlas":  "mongodbPorts",
		"prometheusRule.labels=prometheus":     "labels",
		"serviceMonitor.label.release=missing": "label",
	} {
		if out, err := helm(t, "template", "keytail", "--set", values); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want an error with %q\n%s", values, err, want, out)
		}
	}
}

// TestChartTakesNoPassword: the connection string becomes a ConfigMap, and a part of the
// release's history.
func TestChartTakesNoPassword(t *testing.T) {
	t.Parallel()
	content, err := os.ReadFile("helm/keytail/values.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	var schema struct {
		Properties struct {
			Config struct {
				Properties struct {
					URI struct{ Pattern string } `json:"mongodb_uri"`
				}
			}
		}
	}
	if err := json.Unmarshal(content, &schema); err != nil {
		t.Fatal(err)
	}
	pattern := regexp.MustCompile(schema.Properties.Config.Properties.URI.Pattern)
	for uri, want := range map[string]bool{
		"mongodb://keytail@db1,db2,db3/app?replicaSet=rs0&authSource=app&tls=true": true,
		"mongodb+srv://keytail@cluster.example.net/app":                            true,
		"mongodb://db1:27017,db2:27017/app?authMechanism=MONGODB-X509":             true,
		"mongodb://keytail:secret@db1/app":                                         false,
		"mongodb+srv://keytail:s3%2Fcret@db1:27017/app":                            false,
		"mongodb://keytail:pass@word@db1/app":                                      false,
		"mongodb://keytail:@db1/app":                                               false,
		"db1":                                                                      false,
	} {
		if got := pattern.MatchString(uri); got != want {
			t.Errorf("%s: the schema takes it: %v, want %v", uri, got, want)
		}
	}
}
