package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"path/filepath"

	"github.com/google/go-jsonnet"
	"go.yaml.in/yaml/v3"
)

// The places of files, from the folder of this module, where the command has to run.
const (
	repository    = "../../.."
	mixinFile     = "../mixin.libsonnet"
	dashboardFile = "deploy/prometheus/dashboards/keytail.json"
	// chartFolder has copies, because a chart cannot read files outside of itself.
	chartFolder = "deploy/helm/keytail/files"
)

const header = `# Made from mixin.libsonnet by: go -C deploy/prometheus/generate run .
# Change that instead, or overwrite its _config (docs/metrics.md).
`

// ruleFile is a file of rules, with its fields in the order of Prometheus' documentation.
type ruleFile struct {
	Groups []struct {
		Name  string `json:"name" yaml:"name"`
		Rules []rule `json:"rules" yaml:"rules"`
	} `json:"groups" yaml:"groups"`
}

type rule struct {
	Record      string            `json:"record" yaml:"record,omitempty"`
	Alert       string            `json:"alert" yaml:"alert,omitempty"`
	Expr        string            `json:"expr" yaml:"expr"`
	For         string            `json:"for" yaml:"for,omitempty"`
	Labels      map[string]string `json:"labels" yaml:"labels,omitempty"`
	Annotations map[string]string `json:"annotations" yaml:"annotations,omitempty"`
}

// renderAll renders every file, by its path in the repository.
func renderAll() (map[string][]byte, error) {
	dashboard, err := renderDashboard()
	if err != nil {
		return nil, err
	}
	rules, err := renderRules(1)
	if err != nil {
		return nil, err
	}
	files := map[string][]byte{dashboardFile: dashboard}
	for name, content := range rules {
		files[filepath.Join("deploy/prometheus", name)] = content
		files[filepath.Join(chartFolder, name)] = content
	}
	return files, nil
}

// renderRules renders alerts.yaml and rules.yaml.
func renderRules(divisor int) (map[string][]byte, error) {
	files := map[string][]byte{}
	for name, field := range map[string]string{"alerts.yaml": "prometheusAlerts", "rules.yaml": "prometheusRules"} {
		file, err := evaluate(field, fmt.Sprintf("timesDividedBy: %d", divisor))
		if err != nil {
			return nil, err
		}
		text := bytes.NewBufferString(header)
		encoder := yaml.NewEncoder(text)
		encoder.SetIndent(2)
		if err := encoder.Encode(file); err != nil {
			return nil, err
		}
		files[name] = text.Bytes()
	}
	return files, nil
}

// evaluate returns one field of the mixin with this configuration.
func evaluate(field, config string) (file ruleFile, err error) {
	text, err := jsonnet.MakeVM().EvaluateAnonymousSnippet("generate", fmt.Sprintf("((import '%s') + {_config+:: {%s}}).%s", mixinFile, config, field))
	if err != nil {
		return file, err
	}
	decoder := json.NewDecoder(bytes.NewBufferString(text))
	decoder.DisallowUnknownFields()
	return file, decoder.Decode(&file)
}
