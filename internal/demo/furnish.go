// SPDX-License-Identifier: Apache-2.0

package demo

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/tallystick/tallystick/internal/lab/entra"
)

// What stands before the id of a tenant, in the name of the source that reads its log and in that
// of its door.
const (
	tenantSource = "tenant-"
	tenantDoor   = "t-"
)

// certify makes the vendor's CA, and one certificate of it that all products share.
func (p *play) certify(ctx context.Context) error {
	if err := p.program.configure(p.settings(nil)); err != nil {
		return err
	}
	if _, err := p.program.typed(ctx, "ca", "init", "vendor", "--organization", "Vendor"); err != nil {
		return err
	}
	// Microsoft's token endpoint takes RSA keys alone.
	shared := filepath.Join(p.vendor.dir, "shared")
	if _, err := p.program.typed(ctx, "ca", "issue", "--profile", "client", "--common-name", "connect.vendor.example", "--key", "rsa-2048", "--out", shared); err != nil {
		return err
	}
	if err := p.vendor.share(shared); err != nil {
		return fmt.Errorf("couldn't give the certificate to the products: %w", err)
	}
	return os.RemoveAll(shared)
}

// furnish writes the configuration with a door for each tenant, and adds the books of the
// products and the logs of those customers who share them.
func (p *play) furnish(ctx context.Context) error {
	ca := filepath.Join(p.program.dir, "emulator.pem")
	if err := os.WriteFile(ca, p.cloud.servers.CA, 0o600); err != nil {
		return err
	}
	if err := p.program.configure(p.settings(p.cloud)); err != nil {
		return err
	}
	for _, product := range p.vendor.products {
		if _, err := p.program.typed(ctx, "source", "add", product.name, "--kind", "file", "--side", "holder", product.records); err != nil {
			return err
		}
	}
	var tenants strings.Builder
	for _, one := range p.cloud.sharing() {
		fmt.Fprintln(&tenants, one.tenant.ID)
	}
	list := filepath.Join(p.program.dir, "tenants")
	if err := os.WriteFile(list, []byte(tenants.String()), 0o600); err != nil {
		return err
	}
	_, err := p.program.typed(ctx, "source", "add", tenantSource+"{}", "--each", list, "--kind", "driver", "--driver", "entra", "--side", "relying",
		"--set", "tenant={}", "--set", "application="+p.vendor.monitor, "--set", "credential="+p.vendor.monitorFile,
		"--set", "login="+p.cloud.servers.Login, "--set", "graph="+p.cloud.servers.Graph, "--set", "ca="+ca,
		"--set", "logs=sign-ins", "--set", "every=2s", "--set", "late=10s", "--set", "since=1h")
	return err
}

// settings returns the configuration of Tallystick; without a cloud it has no doors yet.
func (p *play) settings(c *cloud) string {
	var text strings.Builder
	text.WriteString(p.custody("hub"))
	fmt.Fprintf(&text, `discovery:
  - {name: products, driver: files, targets: [%q]}
tally: {tolerance: 2s}
recall: {quiet: 2s, approvals: 1}
`, p.vendor.dir)
	if c == nil {
		return text.String()
	}
	text.WriteString("doors:\n")
	if p.second != nil {
		text.WriteString(p.second.doors())
	}
	for _, product := range p.vendor.products {
		fmt.Fprintf(&text, "  - {name: %s, driver: pemfile, holder: %s, owner: vendor, options: {bundle: %q, role: client}, issue: {issuer: ca/vendor, profile: client}}\n",
			product.name, product.name, product.bundle)
		for _, one := range product.customers {
			fmt.Fprintf(&text, `  - name: %s
    driver: entra
    customer: %s
    holders: [%s]
    relying_parties: ["entra:%s/%s"]
    options: {tenant: %s, application: %s, credential: %q, login: %q, graph: %q, ca: %q}
`, tenantDoor+one.tenant.ID, one.name, product.name, one.tenant.ID, entra.Graph, one.tenant.ID, one.app.Application.AppID, product.bundle,
				c.servers.Login, c.servers.Graph, filepath.Join(p.program.dir, "emulator.pem"))
		}
	}
	return text.String()
}
