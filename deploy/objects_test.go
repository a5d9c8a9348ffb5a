package deploy

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"slices"
	"testing"

	"go.yaml.in/yaml/v3"
)

// object is an object of Kubernetes. The names of fields match in any case.
type object struct {
	APIVersion, Kind string
	Metadata         struct {
		Name   string
		Labels map[string]string
	}
	Data map[string]string
	Spec json.RawMessage
}

// workload is the spec of a Deployment or DaemonSet.
type workload struct {
	Selector                 struct{ MatchLabels map[string]string }
	Strategy, UpdateStrategy struct {
		RollingUpdate struct{ MaxSurge, MaxUnavailable int }
	}
	Template struct {
		Metadata struct{ Labels map[string]string }
		Spec     pod
	}
}

type pod struct {
	AutomountServiceAccountToken, EnableServiceLinks *bool
	TerminationGracePeriodSeconds                    int
	SecurityContext                                  any
	Containers                                       []container
	Volumes                                          []volume
}

type container struct {
	Args                                        []string
	Env                                         []struct{ Name, Value string }
	Ports                                       []containerPort
	StartupProbe, LivenessProbe, ReadinessProbe probe
	Resources                                   struct{ Requests, Limits map[string]string }
	SecurityContext                             any
	VolumeMounts                                []mount
}

type mount struct{ Name, MountPath, SubPath string }

type containerPort struct {
	Name          string
	ContainerPort int
}

type probe struct {
	HTTPGet struct{ Path, Port, Scheme string }
}

type volume struct {
	Name      string
	ConfigMap struct{ Name string }
	Secret    struct {
		SecretName  string
		DefaultMode os.FileMode
	}
}

type serviceSpec struct {
	Selector map[string]string
	Ports    []struct {
		Name, TargetPort string
		Port             int
	}
}

// objectsIn reads a file with several documents.
func objectsIn(t *testing.T, file string) []object {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var all []object
	for decoder := yaml.NewDecoder(bytes.NewReader(content)); ; {
		var document any
		if err := decoder.Decode(&document); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		var o object
		if document != nil {
			convert(t, document, &o)
			all = append(all, o)
		}
	}
}

// convert goes through JSON.
func convert(t *testing.T, from, to any) {
	t.Helper()
	text, err := json.Marshal(from)
	if err == nil {
		err = json.Unmarshal(text, to)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// find is the object with this kind and name.
func find(t *testing.T, all []object, kind, name string) object {
	t.Helper()
	i := slices.IndexFunc(all, func(o object) bool { return o.Kind == kind && o.Metadata.Name == name })
	if i < 0 {
		t.Fatalf("there is no %s %s", kind, name)
	}
	return all[i]
}

// specOf is the spec of the object with this kind and name.
func specOf[T any](t *testing.T, all []object, kind, name string) (spec T) {
	t.Helper()
	convert(t, find(t, all, kind, name).Spec, &spec)
	return spec
}
