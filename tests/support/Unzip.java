import java.io.File;
import java.io.FileInputStream;
import java.io.InputStream;
import org.pytorch.serve.archive.utils.ZipUtils;

/** Unpacks each archive of a folder into a folder beside it, with TorchServe's own code. */
public class Unzip {
    public static void main(String[] given) {
        for (File file : new File(given[0]).listFiles()) {
            File target = new File(given[1], file.getName());
            target.mkdirs();
            try (InputStream stream = new FileInputStream(file)) {
                ZipUtils.unzip(stream, target);
            } catch (Exception error) {
                System.out.println(file.getName() + ": " + error);
            }
        }
    }
}
