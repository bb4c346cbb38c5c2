// SPDX-License-Identifier: Apache-2.0

package files

import (
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tallystick/tallystick/parse"
)

// kubeconfig is what kubeadm and cloud tools write; %[1]s is a certificate,
// %[2]s its key.
const kubeconfig = `apiVersion: v1
kind: Config
clusters:
- cluster:
    certificate-authority-data: %[1]s
    server: https://10.0.0.1:6443
  name: production
- name: staging
  cluster:
    certificate-authority-data: "%[1]s"
contexts:
- context: {cluster: production, user: admin}
  name: admin@production
users:
- name: admin
  user:
    client-certificate-data: %[1]s
    client-key-data: >-
      %[2]s
- name: robot
  user:
    exec:
      command: login
      args:
      - --name
      env:
      - name: PROFILE
        value: robot
    client-key-data: "!"
`

const kubeconfigJSON = `{"kind":"Config","apiVersion":"v1","clusters":[{"name":"c","cluster":{"certificate-authority-data":"%[1]s"}}],
"users":[{"name":"u","user":{"client-key-data":"%[2]s"}}]}`

func TestKubeconfig(t *testing.T) {
	key, certificate := selfSigned(t)
	encode := base64.StdEncoding.EncodeToString
	root := tree(t)
	write(t, root+"/.kube/config", fmt.Sprintf(kubeconfig, encode([]byte(certificate)), encode([]byte(key))), 0o600)
	write(t, root+"/admin.conf", fmt.Sprintf(kubeconfigJSON, encode([]byte(certificate)), encode([]byte(key))), 0o600)
	write(t, root+"/pod.yaml", "apiVersion: v1\nkind: ConfigMap\ndata: {}\n", 0o600)
	b := find(t, nil, root)
	var got []string
	for _, s := range b.at(root + "/.kube/config") {
		got = append(got, fmt.Sprintf("%s %s %s private=%v", s.File.Alias, s.Role, s.File.Format, s.File.Private))
	}
	slices.Sort(got)
	want := []string{
		"admin holds kubeconfig private=true", "admin presents kubeconfig private=false",
		"production accepts kubeconfig private=false", // of a credential that is there twice, the first name
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if got := len(b.at(root + "/admin.conf")); got != 2 {
		t.Errorf("%d sightings in the JSON form, want 2", got)
	}
	if d := cmp.Diff([]string{".kube/config malformed"}, b.missed(root)); d != "" {
		t.Error(d)
	}
}

func FuzzKubeconfig(f *testing.F) {
	f.Add(kubeconfig)
	f.Add(kubeconfigJSON)
	f.Add("client-key-data: |\n")
	f.Add("client-key-data: &a [*a]")
	f.Fuzz(func(t *testing.T, text string) {
		l := &look{finder: &finder{}, ctx: t.Context()}
		for _, item := range l.parseKubeconfig("config", []byte(text), parse.NewWork(0)).Items {
			if item.Format != "kubeconfig" {
				t.Errorf("format %q", item.Format)
			}
		}
		if strings.HasPrefix(text, "apiVersion: v1\nkind: Config") && !isKubeconfig([]byte(text)) {
			t.Error("not taken for a kubeconfig")
		}
	})
}
