// Says which digits images show, all in one run.
//
//     c++ -std=c++17 classify.cpp $(pkg-config --cflags --libs twnc) -o classify && ./classify lenet5.bin seven.pgm seven.pgm
//
// The model takes float[N,1,28,28] from 0 to 1 and gives float[N,10]; images are binary PGMs of 28x28 pixels.
#include <algorithm>
#include <fstream>
#include <iostream>
#include <stdexcept>
#include <string>
#include <vector>

#include <twnc.hpp>

// Appends the image's pixels as numbers from 0 to 1.
static void read_image(const std::string &path, std::vector<float> &pixels) {
    std::ifstream file(path, std::ios::binary);
    std::string kind;
    int width = 0, height = 0, white = 0;
    std::vector<unsigned char> bytes(28 * 28);
    file >> kind >> width >> height >> white;
    file.get();
    file.read(reinterpret_cast<char *>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
    if (!file || kind != "P5" || width != 28 || height != 28 || white != 255)
        throw std::runtime_error(path + " is no binary PGM of 28x28 pixels");
    std::transform(bytes.begin(), bytes.end(), std::back_inserter(pixels), [](unsigned char byte) { return static_cast<float>(byte) / 255.0f; });
}

int main(int argc, char **argv) try {
    if (argc < 3)
        throw std::runtime_error("usage: classify MODEL.bin IMAGE.pgm..");
    std::vector<float> pixels;
    for (int i = 2; i < argc; i++)
        read_image(argv[i], pixels);

    const twnc::Module module(argv[1]);
    const twnc::Session session(module, twnc::Options().threads(2));
    const std::int64_t count = argc - 2;
    const std::vector<std::int64_t> shape{count, 1, 28, 28};
    const twnc::Input input("image", pixels, shape);
    const std::vector<std::int64_t> logits_shape = session.output_shape({input}, 0);
    std::vector<float> logits(static_cast<std::size_t>(count) * 10);
    session.run({input}, {twnc::Output("logits", logits, logits_shape)});

    for (auto row = logits.begin(); row != logits.end(); row += 10)
        std::cout << std::max_element(row, row + 10) - row << '\n';
} catch (const std::exception &error) {
    std::cerr << error.what() << '\n';
    return 1;
}
