// SPDX-License-Identifier: Apache-2.0

package files

import (
	"path/filepath"
	"strings"
)

// sshdFiles are the keywords of sshd_config(5) that name a file of keys.
var sshdFiles = map[string]string{
	"hostkey":           "key",
	"hostcertificate":   "certificate",
	"trustedusercakeys": "client-ca",
}

// sshdDefaultKeys are the host keys of a server whose configuration names none.
var sshdDefaultKeys = [...]string{"ssh_host_rsa_key", "ssh_host_ecdsa_key", "ssh_host_ed25519_key"}

// isSSHDConfig accepts sshd_config and the parts in sshd_config.d; the other
// files of the directory are keys and the client's configuration.
func isSSHDConfig(name string) bool {
	return name == "sshd_config" || strings.HasSuffix(name, ".conf")
}

// readSSHD reads an sshd_config.
func readSSHD(c config) []reference {
	if filepath.Base(filepath.Dir(c.path)) == "ssh_config.d" {
		return nil
	}
	var found []reference
	home, named := c.home("ssh"), false
	for _, l := range lines(c.text, nil) {
		w := words(strings.Replace(l.text, "=", " ", 1))
		if len(w) < 2 {
			continue
		}
		if as := sshdFiles[strings.ToLower(w[0])]; as != "" && w[1] != "none" {
			named = named || strings.EqualFold(w[0], "hostkey")
			found = append(found, reference{path: w[1], base: home, line: l.number, as: as})
		}
	}
	if filepath.Base(c.path) == "sshd_config" && !named {
		for _, name := range sshdDefaultKeys {
			found = append(found, reference{path: name, base: home, as: "key"})
		}
	}
	return found
}
