// SPDX-License-Identifier: Apache-2.0

import java.io.*;
import java.net.*;
import java.nio.file.*;
import java.security.KeyStore;
import javax.net.ssl.*;

/** Answers "ok" over HTTPS. At SIGHUP it reads its stores again, and writes down how often it has. */
public class Server {
    static volatile SSLContext context;
    static int generation;

    // PORT GENERATION-FILE PASSPHRASE KEYSTORE [TRUSTSTORE]
    public static void main(String[] args) throws Exception {
        load(args);
        sun.misc.Signal.handle(new sun.misc.Signal("HUP"), signal -> {
            try {
                load(args);
            } catch (Exception e) {
                e.printStackTrace();
            }
        });
        ServerSocket listener = new ServerSocket(Integer.parseInt(args[0]), 50, InetAddress.getByName("127.0.0.1"));
        while (true) {
            Socket plain = listener.accept();
            new Thread(() -> serve(plain, args.length > 4)).start();
        }
    }

    static void serve(Socket plain, boolean clients) {
        try (SSLSocket socket = (SSLSocket) context.getSocketFactory().createSocket(plain, null, true)) {
            socket.setUseClientMode(false);
            socket.setNeedClientAuth(clients);
            BufferedReader in = new BufferedReader(new InputStreamReader(socket.getInputStream()));
            for (String line = in.readLine(); line != null; line = in.readLine()) {
                if (line.isEmpty()) {
                    socket.getOutputStream().write("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok\n".getBytes());
                }
            }
        } catch (IOException e) {
            System.out.println(e);
        }
    }

    static synchronized void load(String[] args) throws Exception {
        char[] passphrase = args[2].toCharArray();
        KeyManagerFactory keys = KeyManagerFactory.getInstance("PKIX");
        keys.init(KeyStore.getInstance(new File(args[3]), passphrase), passphrase);
        TrustManager[] trust = null;
        if (args.length > 4) {
            TrustManagerFactory factory = TrustManagerFactory.getInstance("PKIX");
            factory.init(KeyStore.getInstance(new File(args[4]), passphrase));
            trust = factory.getTrustManagers();
        }
        SSLContext next = SSLContext.getInstance("TLS");
        next.init(keys.getKeyManagers(), trust, null);
        context = next;
        Path file = Path.of(args[1] + ".new");
        Files.writeString(file, ++generation + "\n");
        Files.move(file, Path.of(args[1]), StandardCopyOption.ATOMIC_MOVE);
    }
}
