package deploy

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keytail/keytail/internal/daemon"
	"github.com/keytail/keytail/internal/devmongo"
	"github.com/keytail/keytail/internal/mongotest"
	"github.com/keytail/keytail/internal/service"
)

// each runs a test for the Deployment and the DaemonSet.
func each(t *testing.T, test func(t *testing.T, all []object, w workload)) {
	for kind, file := range map[string]string{"Deployment": "kubernetes/deployment.yaml", "DaemonSet": "kubernetes/daemonset.yaml"} {
		t.Run(kind, func(t *testing.T) {
			all := objectsIn(t, file)
			w := specOf[workload](t, all, kind, "keytail")
			if len(w.Template.Spec.Containers) != 1 {
				t.Fatalf("got %d containers, want one", len(w.Template.Spec.Containers))
			}
			test(t, all, w)
		})
	}
}

// imageEnvironment is what the Dockerfile sets.
func imageEnvironment(t *testing.T) map[string]string {
	t.Helper()
	dockerfile, err := os.ReadFile("../Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	environment := map[string]string{}
	for _, m := range regexp.MustCompile(`(KEYTAIL_\w+)=(\S+)`).FindAllStringSubmatch(string(dockerfile), -1) {
		environment[m[1]] = m[2]
	}
	return environment
}

// TestPodStarts runs the command of the pod with its file, its environment and its
// Secret, until it has a service.
func TestPodStarts(t *testing.T) {
	each(t, func(t *testing.T, all []object, w workload) {
		c, environment := w.Template.Spec.Containers[0], imageEnvironment(t)
		for _, e := range c.Env {
			environment[e.Name] = e.Value
		}
		i := slices.IndexFunc(w.Template.Spec.Volumes, func(v volume) bool { return v.ConfigMap.Name != "" })
		config := find(t, all, "ConfigMap", w.Template.Spec.Volumes[i].ConfigMap.Name).Data
		got := startUntilService(t, c.Args, environment, map[string]string{"/etc/keytail/keytail.yaml": config["keytail.yaml"]})
		if got.Database != "app" || got.CallerTokenFile == "" {
			t.Errorf("the daemon has the database %q and the caller tokens %q", got.Database, got.CallerTokenFile)
		}
		for _, m := range secretFile.FindAllStringSubmatch(config["keytail.yaml"], -1) {
			if !slices.ContainsFunc(c.VolumeMounts, func(v mount) bool { return strings.HasPrefix(m[2], v.MountPath+"/") }) {
				t.Errorf("%s is in no volume: %s", m[1], m[2])
			}
		}
		for _, m := range c.VolumeMounts {
			if m.SubPath != "" {
				t.Errorf("%s is mounted by subPath: a changed Secret would not arrive", m.MountPath)
			}
		}
		drain := regexp.MustCompile(`drain_delay: (\d+)s`).FindStringSubmatch(config["keytail.yaml"])
		if grace := w.Template.Spec.TerminationGracePeriodSeconds; drain == nil || seconds(t, strconv.Itoa(grace)) <= seconds(t, drain[1])+requestsInFlight {
			t.Errorf("the pod is killed after %d s, and keytail needs the drain delay of %q and %v to stop", grace, drain, requestsInFlight)
		}
		checkMemory(t, got.CacheSizeMiB, mebibytes(t, c.Resources.Limits["memory"]), mebibytes(t, environment["GOMEMLIMIT"]))
		if c.Resources.Requests["memory"] != c.Resources.Limits["memory"] || c.Resources.Limits["cpu"] != "" {
			t.Errorf("the resources are %v", c.Resources)
		}
	})
}

// checkMemory compares sizes in MiB with the rule of docs/deploy.md.
func checkMemory(t *testing.T, cache, limit, goLimit int) {
	t.Helper()
	if want := cache*7/4 + 128; limit < want {
		t.Errorf("a cache of %d MiB has a limit of %d MiB, want %d or more", cache, limit, want)
	}
	if want := limit * 9 / 10; goLimit != want {
		t.Errorf("GOMEMLIMIT is %d MiB with a limit of %d MiB, want %d", goLimit, limit, want)
	}
}

// mebibytes reads 512Mi, 512MiB and 1G, which systemd reads as 1024 MiB.
func mebibytes(t *testing.T, size string) int {
	t.Helper()
	m := regexp.MustCompile(`^(\d+)(Mi|MiB|G)$`).FindStringSubmatch(size)
	if m == nil {
		t.Fatalf("the size %q has another unit than this test knows", size)
	}
	n, _ := strconv.Atoi(m[1])
	if m[2] == "G" {
		n *= 1024
	}
	return n
}

// TestPortsAgree: image, container, Services, network policy and ServiceMonitor.
func TestPortsAgree(t *testing.T) {
	environment := imageEnvironment(t)
	want := map[string]string{environment["KEYTAIL_ADDR"]: "http", environment["KEYTAIL_OPS_ADDR"]: "operations"}
	monitor := specOf[struct {
		Selector  struct{ MatchLabels map[string]string }
		Endpoints []struct{ Port, Path string }
	}](t, objectsIn(t, "kubernetes/servicemonitor.yaml"), "ServiceMonitor", "keytail")
	each(t, func(t *testing.T, all []object, w workload) {
		got := map[string]string{}
		for _, p := range w.Template.Spec.Containers[0].Ports {
			got[fmt.Sprintf(":%d", p.ContainerPort)] = p.Name
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("ports of the container (-image +container):\n%s", diff)
		}
		for name, port := range map[string]string{"keytail": "http", "keytail-operations": "operations"} {
			s := specOf[serviceSpec](t, all, "Service", name)
			if diff := cmp.Diff(w.Template.Metadata.Labels, s.Selector); diff != "" || len(s.Ports) != 1 || s.Ports[0].TargetPort != port {
				t.Errorf("Service %s: %+v\n%s", name, s, diff)
			}
			if matched := matches(monitor.Selector.MatchLabels, find(t, all, "Service", name).Metadata.Labels); matched != (port == "operations") {
				t.Errorf("the ServiceMonitor selects the Service %s: %v", name, matched)
			}
		}
		policy := string(find(t, all, "NetworkPolicy", "keytail").Spec)
		for _, port := range want {
			if !strings.Contains(policy, `"port":"`+port+`"`) {
				t.Errorf("the network policy lets nobody reach the port %s", port)
			}
		}
	})
	if e := monitor.Endpoints; len(e) != 1 || e[0].Port != "operations" || e[0].Path != "/metrics" {
		t.Errorf("the ServiceMonitor has %+v", e)
	}
}

func matches(selector, labels map[string]string) bool {
	for key, value := range selector {
		if labels[key] != value {
			return false
		}
	}
	return true
}

// TestPodIsConfined: the restricted standard of Kubernetes, and what keytail needs.
func TestPodIsConfined(t *testing.T) {
	each(t, func(t *testing.T, _ []object, w workload) {
		p := w.Template.Spec
		if p.AutomountServiceAccountToken == nil || *p.AutomountServiceAccountToken || p.EnableServiceLinks == nil || *p.EnableServiceLinks {
			t.Error("the pod has a token of the API, or variables of Services")
		}
		for _, c := range []struct {
			got  any
			want string
		}{
			{p.SecurityContext, `{"fsGroup":65532,"runAsGroup":65532,"runAsNonRoot":true,"runAsUser":65532,"seccompProfile":{"type":"RuntimeDefault"}}`},
			{p.Containers[0].SecurityContext, `{"allowPrivilegeEscalation":false,"capabilities":{"drop":["ALL"]},"readOnlyRootFilesystem":true}`},
		} {
			if got, err := json.Marshal(c.got); err != nil || string(got) != c.want {
				t.Errorf("got %s, %v, want %s", got, err, c.want)
			}
		}
		for _, v := range p.Volumes {
			if v.Secret.SecretName != "" && v.Secret.DefaultMode != 0o440 {
				t.Errorf("the files of the Secret have the mode %o: with %o keytail can read them, and others cannot", v.Secret.DefaultMode, 0o440)
			}
		}
		if diff := cmp.Diff(w.Selector.MatchLabels, w.Template.Metadata.Labels); diff != "" {
			t.Error(diff)
		}
		if got := w.Strategy.RollingUpdate.MaxSurge + w.UpdateStrategy.RollingUpdate.MaxSurge; got != 1 {
			t.Errorf("maxSurge is %d: a new pod must be ready before an old one stops", got)
		}
	})
}

// TestPodsStayReadyInAnOutage: all pods notice it at the same time, so readiness must
// not depend on it; nor must liveness.
func TestPodsStayReadyInAnOutage(t *testing.T) {
	server := mongotest.StartDevmongo(t, devmongo.Config{})
	client, database := server.Client(t), server.Database(t)
	mongotest.CreateAPIKeys(t, client.Database(database))
	d, err := daemon.New(t.Context(), daemon.Config{Config: service.Config{
		Client: client, Database: database, CacheSizeMiB: 8, MaxStale: 300 * time.Millisecond, HeartbeatInterval: 20 * time.Millisecond,
	}})
	if err != nil {
		t.Fatal(err)
	}
	get := func(path string) int {
		response := httptest.NewRecorder()
		d.Operations().ServeHTTP(response, httptest.NewRequest(http.MethodGet, path, http.NoBody))
		return response.Code
	}
	check := func(when string, live, ready int) {
		t.Helper()
		each(t, func(t *testing.T, _ []object, w workload) {
			c := w.Template.Spec.Containers[0]
			for _, p := range []struct {
				probe
				want int
			}{{c.StartupProbe, live}, {c.LivenessProbe, live}, {c.ReadinessProbe, ready}} {
				if got := get(p.HTTPGet.Path); got != p.want || p.HTTPGet.Port != "operations" || p.HTTPGet.Scheme != "HTTP" {
					t.Errorf("%s: %+v is %d, want %d", when, p.HTTPGet, got, p.want)
				}
			}
		})
	}
	check("before the first scan", http.StatusOK, http.StatusServiceUnavailable)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- d.Run(ctx) }()
	<-d.Live()
	check("live", http.StatusOK, http.StatusOK)
	server.Node.HoldMajority() // no write is acknowledged, and no heartbeat comes back
	mongotest.Eventually(t, 20*time.Second, func() bool { return get("/readyz?strict=1") == http.StatusServiceUnavailable }, "the outage is not noticed")
	check("without a majority", http.StatusOK, http.StatusOK)
	server.Node.ReleaseMajority()
	d.Drain()
	check("draining", http.StatusOK, http.StatusServiceUnavailable)
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
