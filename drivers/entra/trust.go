// SPDX-License-Identifier: Apache-2.0

package entra

import (
	"context"
	"crypto/x509"
	"fmt"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
)

// Trust adds a certificate to the keys of the application, beside the others. Withdraw takes
// away what bears the mark of Trust.
func (e *Entra) Trust(ctx context.Context, request driver.TrustRequest) (driver.Changed, error) {
	if err := signsIn(request.New); err != nil {
		return driver.Changed{}, err
	}
	r, err := e.ring(ctx, request.Host, request.Now)
	if err != nil {
		return driver.Changed{}, err
	}
	// Where the holder has the new one already, which the tenant does not know, nothing settles.
	r.used, r.settles = request.Used, !r.material.Is(request.New)
	o, err := r.look(ctx)
	if refusedKey(err) && request.LikeKey != nil && !request.Withdraw {
		r = r.by(driver.Material{Public: request.Like, Key: request.LikeKey}, e.Application)
		o, err = r.look(ctx)
	}
	if err != nil {
		return driver.Changed{}, err
	}
	there := o.keysOf(request.New)
	if request.Withdraw {
		var added []keyCredential
		for _, k := range there {
			if k.marked() {
				added = append(added, k)
			}
		}
		return r.take(ctx, o, added)
	}
	if len(there) > 0 { // also where the old one is gone by now, because people were late
		return driver.Changed{}, nil
	}
	if len(o.keysOf(request.Like)) == 0 {
		return driver.Changed{}, fmt.Errorf("%w: the certificate that the new one shall be like is none of the keys of %s in the tenant %s", tallystick.ErrNotFound, o.ID, r.tenant)
	}
	return r.put(ctx, o, request.New, mark)
}

// signsIn refuses what Entra ID would take as a key, and then let nobody in by: assertions are
// signed with RSA ("Create a self-signed public certificate to authenticate your application").
func signsIn(p driver.Public) error {
	if err := onlyCertificates(p); err != nil {
		return err
	}
	c, err := x509.ParseCertificate(p.Chain[0])
	if err != nil {
		return invalid("couldn't read the new certificate: %v", err)
	}
	if c.PublicKeyAlgorithm != x509.RSA {
		return invalid("Entra ID lets in by keys of RSA alone, and that of the new certificate is %s: set the algorithm rsa-2048 at the door that holds it", c.PublicKeyAlgorithm)
	}
	return nil
}

// put adds a certificate, and looks until it shows.
func (r *ring) put(ctx context.Context, o *keyOwner, p driver.Public, name string) (driver.Changed, error) {
	key := certificateKey(p, name)
	return r.make(ctx, o, change{add: &key}, "added "+p.Names()[0]+" to "+r.place(o))
}

// take takes keys away, and looks until they are gone.
func (r *ring) take(ctx context.Context, o *keyOwner, keys []keyCredential) (driver.Changed, error) {
	if len(keys) == 0 {
		return driver.Changed{}, nil
	}
	detail := "removed from " + r.place(o) + " the key"
	for _, k := range keys {
		detail += " " + k.KeyID
	}
	return r.make(ctx, o, change{drop: keys}, detail)
}

func (r *ring) make(ctx context.Context, o *keyOwner, c change, detail string) (driver.Changed, error) {
	how, err := r.do(ctx, o, c)
	if err != nil {
		return driver.Changed{}, err
	}
	if _, err := r.until(ctx, c.shows); err != nil {
		return driver.Changed{}, err
	}
	return driver.Changed{Changed: true, How: []string{how}, Detail: detail}, nil
}
