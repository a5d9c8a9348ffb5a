package peers

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
)

// Kubernetes is as much of the API of a Kubernetes cluster as Authorino needs: discovery,
// and the lists and watches of secrets and AuthConfigs in the namespace default. It has no
// etcd and no admission, so it acknowledges a write sooner than a cluster.
type Kubernetes struct {
	mutex   sync.Mutex
	version int
	// objects maps the name of a resource to its objects by name.
	objects map[string]map[string]map[string]any
	// events are all changes, in order. changed is closed and replaced with each of them.
	events  []kubernetesEvent
	changed chan struct{}
}

type kubernetesEvent struct {
	version  int
	resource string
	Type     string         `json:"type"`
	Object   map[string]any `json:"object"`
}

const authConfigGroup = "authorino.kuadrant.io/v1beta3"

// NewKubernetes returns an API with the AuthConfig of config/authconfig.json, and a secret
// for each API key, named key-0, key-1, ...
func NewKubernetes(keys []string) (*Kubernetes, error) {
	text, err := configs.ReadFile("config/authconfig.json")
	if err != nil {
		return nil, err
	}
	var authConfig map[string]any
	if err := json.Unmarshal(text, &authConfig); err != nil {
		return nil, err
	}
	secrets := map[string]map[string]any{}
	for i, key := range keys {
		name := secretName(i)
		secrets[name] = map[string]any{
			"apiVersion": "v1", "kind": "Secret", "type": "Opaque",
			"metadata": map[string]any{
				"name": name, "namespace": "default", "uid": name, "resourceVersion": "1",
				"labels": map[string]string{"authorino.kuadrant.io/managed-by": "authorino", "group": "bench"},
			},
			"data": map[string]string{"api_key": base64.StdEncoding.EncodeToString([]byte(key))},
		}
	}
	return &Kubernetes{
		version: 1, changed: make(chan struct{}),
		objects: map[string]map[string]map[string]any{"secrets": secrets, "authconfigs": {"api": authConfig}},
	}, nil
}

func secretName(i int) string { return "key-" + strconv.Itoa(i) }

// DeleteSecret deletes the secret of the i-th key. When it returns, the change is stored and
// visible to watches, which is when a cluster acknowledges it.
func (k *Kubernetes) DeleteSecret(i int) error {
	k.mutex.Lock()
	defer k.mutex.Unlock()
	secret, found := k.objects["secrets"][secretName(i)]
	if !found {
		return fmt.Errorf("there is no secret %s", secretName(i))
	}
	delete(k.objects["secrets"], secretName(i))
	k.publishLocked("secrets", "DELETED", secret)
	return nil
}

// publishLocked gives an object the next version and sends it to watches.
func (k *Kubernetes) publishLocked(resource, kind string, object map[string]any) {
	k.version++
	object["metadata"].(map[string]any)["resourceVersion"] = strconv.Itoa(k.version)
	k.events = append(k.events, kubernetesEvent{k.version, resource, kind, object})
	close(k.changed)
	k.changed = make(chan struct{})
}

// ServeHTTP answers as the API server of a cluster does.
func (k *Kubernetes) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	switch path := strings.TrimSuffix(r.URL.Path, "/"); path {
	case "/api":
		answer(w, map[string]any{"kind": "APIVersions", "versions": []string{"v1"}})
	case "/apis":
		version := map[string]string{"groupVersion": authConfigGroup, "version": "v1beta3"}
		answer(w, map[string]any{"kind": "APIGroupList", "apiVersion": "v1", "groups": []any{
			map[string]any{"name": "authorino.kuadrant.io", "versions": []any{version}, "preferredVersion": version},
		}})
	case "/api/v1":
		answer(w, resourceList("v1", "secrets", "Secret"))
	case "/apis/" + authConfigGroup:
		answer(w, resourceList(authConfigGroup, "authconfigs", "AuthConfig"))
	default:
		k.serveResource(w, r, path)
	}
}

func resourceList(group, name, kind string) map[string]any {
	return map[string]any{"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group, "resources": []any{
		map[string]any{"name": name, "kind": kind, "namespaced": true, "verbs": []string{"get", "list", "watch", "update", "delete"}},
		map[string]any{"name": name + "/status", "kind": kind, "namespaced": true, "verbs": []string{"get", "update"}},
	}}
}

func answer(w http.ResponseWriter, body any) {
	// The client has left if this fails.
	_ = json.NewEncoder(w).Encode(body)
}

// serveResource answers requests for lists, watches, and the status of an object.
func (k *Kubernetes) serveResource(w http.ResponseWriter, r *http.Request, path string) {
	for resource, head := range map[string][2]string{"secrets": {"v1", "SecretList"}, "authconfigs": {authConfigGroup, "AuthConfigList"}} {
		_, name, found := strings.Cut(path, "/"+resource)
		switch {
		case !found:
		case name == "" && r.URL.Query().Get("watch") != "":
			k.watch(w, r, resource)
			return
		case name == "":
			k.list(w, resource, head)
			return
		case r.Method == http.MethodPut && strings.HasSuffix(name, "/status"):
			k.updateStatus(w, r, resource)
			return
		}
	}
	w.WriteHeader(http.StatusNotFound)
	answer(w, map[string]any{"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": http.StatusNotFound})
}

func (k *Kubernetes) list(w http.ResponseWriter, resource string, head [2]string) {
	k.mutex.Lock()
	defer k.mutex.Unlock()
	items := []any{}
	for _, object := range k.objects[resource] {
		items = append(items, object)
	}
	answer(w, map[string]any{"apiVersion": head[0], "kind": head[1], "metadata": map[string]string{"resourceVersion": strconv.Itoa(k.version)}, "items": items})
}

// updateStatus stores the status that Authorino writes, and sends the object to watches.
func (k *Kubernetes) updateStatus(w http.ResponseWriter, r *http.Request, resource string) {
	var object map[string]any
	if err := json.NewDecoder(r.Body).Decode(&object); err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	k.mutex.Lock()
	defer k.mutex.Unlock()
	metadata, _ := object["metadata"].(map[string]any)
	name, _ := metadata["name"].(string)
	if k.objects[resource][name] == nil {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	k.objects[resource][name] = object
	k.publishLocked(resource, "MODIFIED", object)
	answer(w, object)
}

// watch sends the changes after the client's version, until the client leaves.
func (k *Kubernetes) watch(w http.ResponseWriter, r *http.Request, resource string) {
	after, err := strconv.Atoi(r.URL.Query().Get("resourceVersion"))
	if err != nil {
		after = 0 // all changes
	}
	flusher := http.NewResponseController(w)
	for {
		k.mutex.Lock()
		changed := k.changed
		for _, event := range k.events {
			if event.version > after && event.resource == resource {
				answer(w, event)
			}
		}
		after = k.version
		k.mutex.Unlock()
		if flusher.Flush() != nil {
			return
		}
		select {
		case <-changed:
		case <-r.Context().Done():
			return
		}
	}
}
