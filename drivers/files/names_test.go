// SPDX-License-Identifier: Apache-2.0

package files

import "testing"

func TestClassify(t *testing.T) {
	for name, want := range map[string]interest{
		"tls.pem": byName, "TLS.PEM": byName, "id_rsa": byName, "cacerts": byName, "cacerts.txt": byName, "authorized_keys.bak": byName,
		"libssl.so": never, "cert.go": never, "cacerts.py": never, "photo.png": never, "a.tar.gz": never,
		"README": byHead, "5ed36f99.0": byHead, "settings.yaml": byHead, "libssl.so.3": byHead, "": byHead, ".": byHead, "x.": byHead,
	} {
		if got := classify(name); got != want {
			t.Errorf("%q: %d, want %d", name, got, want)
		}
	}
}

func TestExtensionsAreOfOneMind(t *testing.T) {
	for extension := range credentialExtensions {
		if neverExtensions[extension] {
			t.Errorf("%q both holds credentials and never does", extension)
		}
	}
}
