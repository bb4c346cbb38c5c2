// SPDX-License-Identifier: Apache-2.0

import java.net.InetAddress;
import java.net.Socket;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.KeyStore;
import java.security.SecureRandom;
import java.security.Security;
import java.util.ArrayList;
import java.util.List;
import javax.net.ssl.KeyManagerFactory;
import javax.net.ssl.SSLContext;
import javax.net.ssl.SSLServerSocket;
import javax.net.ssl.SSLSocket;

/** A TLS server with every protocol and suite that the JDK knows: Everything PORT KEYSTORE PASSWORD. */
public class Everything {
    public static void main(String[] args) throws Exception {
        for (String list : List.of("jdk.tls.disabledAlgorithms", "jdk.tls.legacyAlgorithms", "jdk.certpath.disabledAlgorithms")) {
            Security.setProperty(list, "");
        }
        char[] password = args[2].toCharArray();
        KeyStore store = KeyStore.getInstance("PKCS12");
        try (var in = Files.newInputStream(Path.of(args[1]))) {
            store.load(in, password);
        }
        KeyManagerFactory keys = KeyManagerFactory.getInstance("SunX509");
        keys.init(store, password);
        SSLContext context = SSLContext.getInstance("TLS");
        context.init(keys.getKeyManagers(), null, new SecureRandom());
        var server = (SSLServerSocket) context.getServerSocketFactory()
            .createServerSocket(Integer.parseInt(args[0]), 100, InetAddress.getByName("127.0.0.1"));
        List<String> protocols = new ArrayList<>(List.of(server.getSupportedProtocols()));
        protocols.remove("SSLv2Hello");
        server.setEnabledProtocols(protocols.toArray(String[]::new));
        server.setEnabledCipherSuites(server.getSupportedCipherSuites());
        while (true) {
            Socket client = server.accept();
            new Thread(() -> handshake((SSLSocket) client)).start();
        }
    }

    private static void handshake(SSLSocket client) {
        try (client) {
            client.setSoTimeout(5000);
            client.startHandshake();
            while (client.getInputStream().read() >= 0) {
                continue; // until the client has gone
            }
        } catch (Exception e) {
            return; // most hellos of a scan end so
        }
    }
}
