// SPDX-License-Identifier: Apache-2.0

import java.io.*;
import java.net.*;
import java.nio.channels.*;
import java.nio.file.*;
import java.security.KeyStore;
import java.util.*;
import java.util.concurrent.*;
import javax.net.ssl.*;

/**
 * Services of HTTPS with stores of their own, in one process: Services CONTROL-PORT LIST PASSPHRASE. Each line of LIST
 * is PORT KEYSTORE TRUSTSTORE. Who sends the number of a line to CONTROL-PORT has that service read its stores again.
 */
public class Services {
    static final ExecutorService workers = Executors.newCachedThreadPool();

    /** What a service goes by until it reads its stores again. */
    static class Generation {
        SSLContext context;
        final Set<Socket> idle = ConcurrentHashMap.newKeySet();
    }

    static class Service {
        int port;
        File keys, trusted;
        char[] passphrase;
        volatile Generation now;

        synchronized void load() throws Exception {
            KeyManagerFactory keyManagers = KeyManagerFactory.getInstance("PKIX");
            keyManagers.init(KeyStore.getInstance(keys, passphrase), passphrase);
            TrustManagerFactory trust = TrustManagerFactory.getInstance("PKIX");
            trust.init(KeyStore.getInstance(trusted, passphrase));
            Generation next = new Generation(), before = now;
            next.context = SSLContext.getInstance("TLS"); // with it go the sessions of the one before
            next.context.init(keyManagers.getKeyManagers(), trust.getTrustManagers(), null);
            now = next;
            if (before != null) {
                for (Socket one : before.idle) { // those that are at something end after it
                    one.close();
                }
            }
        }

        void serve(Socket plain) {
            Generation mine = now;
            try (SSLSocket socket = (SSLSocket) mine.context.getSocketFactory().createSocket(plain, null, true)) {
                socket.setSoTimeout(600_000);
                socket.setUseClientMode(false);
                socket.setNeedClientAuth(true);
                BufferedReader in = new BufferedReader(new InputStreamReader(socket.getInputStream()));
                for (String line = in.readLine(); line != null; line = in.readLine()) {
                    mine.idle.remove(plain);
                    if (!line.isEmpty()) {
                        continue;
                    }
                    mine.idle.add(plain);
                    boolean last = mine != now;
                    socket.getOutputStream().write(("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n" + (last ? "Connection: close\r\n" : "") + "\r\nok\n").getBytes());
                    if (last) {
                        return;
                    }
                }
            } catch (IOException e) {
                return; // a client that was refused, or has gone
            } finally {
                mine.idle.remove(plain);
            }
        }
    }

    public static void main(String[] args) throws Exception {
        List<Service> services = new ArrayList<>();
        Selector selector = Selector.open();
        for (String line : Files.readAllLines(Path.of(args[1]))) {
            String[] words = line.split(" ");
            Service one = new Service();
            one.port = Integer.parseInt(words[0]);
            one.keys = new File(words[1]);
            one.trusted = new File(words[2]);
            one.passphrase = args[2].toCharArray();
            one.load();
            services.add(one);
            ServerSocketChannel channel = ServerSocketChannel.open();
            channel.bind(new InetSocketAddress("127.0.0.1", one.port), 128);
            channel.configureBlocking(false);
            channel.register(selector, SelectionKey.OP_ACCEPT, one);
        }
        ServerSocket control = new ServerSocket(Integer.parseInt(args[0]), 128, InetAddress.getByName("127.0.0.1"));
        workers.submit(() -> control(control, services));
        while (true) {
            selector.select(key -> {
                try {
                    SocketChannel client = ((ServerSocketChannel) key.channel()).accept();
                    if (client != null) {
                        client.configureBlocking(true);
                        workers.submit(() -> ((Service) key.attachment()).serve(client.socket()));
                    }
                } catch (IOException e) {
                    System.out.println(e);
                }
            });
        }
    }

    static Void control(ServerSocket listener, List<Service> services) throws IOException {
        while (true) {
            Socket caller = listener.accept();
            workers.submit(() -> {
                try (caller) {
                    BufferedReader in = new BufferedReader(new InputStreamReader(caller.getInputStream()));
                    services.get(Integer.parseInt(in.readLine())).load();
                    caller.getOutputStream().write("ok\n".getBytes());
                } catch (Exception e) {
                    System.out.println(e);
                }
            });
        }
    }
}
