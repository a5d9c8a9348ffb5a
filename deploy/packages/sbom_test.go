package packages

import (
	"debug/buildinfo"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/pb33f/jsonschema/v6"
)

// cycloneDX compiles the schema of CycloneDX 1.6, which is in the library of cyclonedx-gomod.
func cycloneDX(t *testing.T) *jsonschema.Schema {
	t.Helper()
	library := strings.TrimSpace(output(t, "go", "-C", "../../tools/cyclonedx-gomod", "list", "-m", "-f", "{{.Dir}}", "github.com/CycloneDX/cyclonedx-go"))
	compiler := jsonschema.NewCompiler()
	for file, id := range map[string]string{
		"bom-1.6.schema.json": "bom-1.6.schema.json", "spdx.schema.json": "spdx.schema.json", "jsf-0.82.schemax.json": "jsf-0.82.schema.json",
	} {
		if err := compiler.AddResource("http://cyclonedx.org/schema/"+id, decode(t, filepath.Join(library, "schema", file))); err != nil {
			t.Fatal(err)
		}
	}
	schema, err := compiler.Compile("http://cyclonedx.org/schema/bom-1.6.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	return schema
}

func decode(t *testing.T, path string) any {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	document, err := jsonschema.UnmarshalJSON(file)
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return document
}

// TestSBOMs are valid, and list the modules that Go has recorded in the binary.
func TestSBOMs(t *testing.T) {
	t.Parallel()
	r := built(t)
	schema := cycloneDX(t)
	for _, platform := range platforms {
		path := r.path(r.sbom(platform))
		if err := schema.Validate(decode(t, path)); err != nil {
			t.Errorf("%s: %v", path, err)
		}
		var bom struct {
			Metadata struct {
				Component struct{ Name, Version string }
			}
			Components []struct{ Name, Version string }
		}
		content, err := os.ReadFile(path)
		if err == nil {
			err = json.Unmarshal(content, &bom)
		}
		if err != nil {
			t.Fatal(err)
		}
		if c := bom.Metadata.Component; c.Name != "github.com/keytail/keytail" || c.Version != "v"+r.Version {
			t.Errorf("%s describes %s %s", path, c.Name, c.Version)
		}
		var got []string
		for _, c := range bom.Components {
			got = append(got, c.Name+" "+c.Version)
		}
		slices.Sort(got)
		if diff := cmp.Diff(modules(t, r.binary(t, platform)), got); diff != "" {
			t.Errorf("modules of %s (-binary +SBOM):\n%s", platform, diff)
		}
	}
}

// modules are those that a binary contains, with the standard library as SBOMs name it.
func modules(t *testing.T, binary string) []string {
	t.Helper()
	info, err := buildinfo.ReadFile(binary)
	if err != nil {
		t.Fatal(err)
	}
	all := []string{"std " + info.GoVersion}
	for _, m := range info.Deps {
		all = append(all, m.Path+" "+m.Version)
	}
	slices.Sort(all)
	return all
}

// TestLicensesOfAllModules: whoever passes the binary on must pass on these texts.
func TestLicensesOfAllModules(t *testing.T) {
	t.Parallel()
	r := built(t)
	licenses := output(t, "dpkg-deb", "--fsys-tarfile", r.path(r.deb()))
	for _, platform := range platforms {
		for _, module := range modules(t, r.binary(t, platform)) {
			module = strings.Replace(module, "std go", "Go go", 1)
			if !strings.Contains(licenses, "=== "+module+": ") {
				t.Errorf("licenses.txt does not have %s, which is in %s", module, platform)
			}
		}
	}
}
