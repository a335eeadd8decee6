// The HTTP client of Java's standard library, as it is: it offers an upgrade to HTTP/2 with its requests.
// Runs the features and prints one JSON line for each. Usage: java JavaHttpClient.java URL IMAGE [WORDS]
// WORDS stand behind the name of the client, for example "through nginx".

import java.io.IOException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.net.http.HttpResponse.BodyHandlers;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.Base64;
import java.util.concurrent.Callable;
import java.util.concurrent.CompletableFuture;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.IntStream;

public class JavaHttpClient {
  static final HttpClient CLIENT = HttpClient.newHttpClient();
  static final String WORD = "фоне"; // every text of the demo checkpoint has it
  static String url;
  static Path image;
  static String client;

  public static void main(String[] arguments) throws Exception {
    url = arguments[0];
    image = Path.of(arguments[1]);
    String words = arguments.length > 2 ? " " + arguments[2] : "";
    client = "Java HttpClient " + Runtime.version().feature() + words;
    feature("images/generations", JavaHttpClient::draw);
    feature("images/generations, streamed", JavaHttpClient::drawStreamed);
    feature("chat/completions, text and image", JavaHttpClient::describe);
    feature("eight requests at once", JavaHttpClient::drawAtOnce);
    feature("GET after POST on one connection", JavaHttpClient::readAfterWrite);
  }

  static String draw() throws Exception {
    requirePng(sent(post("/v1/images/generations", "{\"prompt\": \"клубника\"}")));
    return "works";
  }

  static String drawStreamed() throws Exception {
    String body = "{\"prompt\": \"клубника\", \"stream\": true, \"partial_images\": 2}";
    HttpResponse<java.util.stream.Stream<String>> reply =
        CLIENT.send(post("/v1/images/generations", body), BodyHandlers.ofLines());
    String[] events =
        reply.body().filter(line -> line.startsWith("event:")).map(line -> line.substring(6).strip()).toArray(String[]::new);
    String[] expected = {"partial_image", "partial_image", "completed"};
    for (int place = 0; place < expected.length; place++) expected[place] = "image_generation." + expected[place];
    require(Arrays.equals(events, expected), Arrays.toString(events));
    return "works";
  }

  static String describe() throws Exception {
    String data = Base64.getEncoder().encodeToString(Files.readAllBytes(image));
    String content =
        "[{\"type\": \"text\", \"text\": \"What's in this image?\"}, {\"type\": \"image_url\","
            + " \"image_url\": {\"url\": \"data:image/png;base64," + data + "\"}}]";
    String reply =
        sent(post("/v1/chat/completions", "{\"messages\": [{\"role\": \"user\", \"content\": " + content + "}]}"));
    require(reply.contains(WORD), reply);
    return "works; the text is ignored, with a warning";
  }

  static String drawAtOnce() throws Exception {
    var replies =
        IntStream.range(0, 8)
            .mapToObj(seed -> post("/v1/images/generations", "{\"prompt\": \"клубника\", \"seed\": " + seed + "}"))
            .map(request -> CLIENT.sendAsync(request, BodyHandlers.ofString()))
            .toList();
    for (CompletableFuture<HttpResponse<String>> reply : replies) requirePng(accepted(reply.get()));
    return "works";
  }

  static String readAfterWrite() throws Exception {
    draw();
    String models = sent(HttpRequest.newBuilder(URI.create(url + "/v1/models")).build());
    require(models.contains("rudolph-demo"), models);
    return "works";
  }

  static HttpRequest post(String path, String body) {
    return HttpRequest.newBuilder(URI.create(url + path))
        .header("Content-Type", "application/json")
        .POST(HttpRequest.BodyPublishers.ofString(body))
        .build();
  }

  static String sent(HttpRequest request) throws IOException, InterruptedException {
    return accepted(CLIENT.send(request, BodyHandlers.ofString()));
  }

  static String accepted(HttpResponse<String> reply) {
    require(reply.statusCode() == 200, reply.statusCode() + " " + reply.body());
    return reply.body();
  }

  static void requirePng(String reply) {
    Matcher found = Pattern.compile("\"b64_json\": ?\"([^\"]+)\"").matcher(reply);
    require(found.find(), reply);
    byte[] data = Base64.getDecoder().decode(found.group(1));
    require(data[1] == 'P' && data[2] == 'N' && data[3] == 'G', "no PNG");
  }

  static void require(boolean isRight, String words) {
    if (!isRight) throw new AssertionError(words);
  }

  static void feature(String name, Callable<String> call) {
    String result;
    boolean failed = false;
    try {
      result = call.call();
    } catch (Exception | AssertionError error) {
      error.printStackTrace();
      failed = true;
      result = "fails: " + error.toString().replaceAll("[\"\\\\\\p{Cntrl}]", "'");
    }
    String line = "{\"client\": \"%s\", \"feature\": \"%s\", \"result\": \"%s\", \"failed\": %s}";
    System.out.println(String.format(line, client, name, result, failed));
  }
}
